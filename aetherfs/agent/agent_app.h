#ifndef AETHERFS_AGENT_AGENT_APP_H_
#define AETHERFS_AGENT_AGENT_APP_H_

namespace aetherfs {

// The whole of `aetherfs-agent`: reads its configuration, runs until it is told to end, and returns the
// exit status. Call first thing in main.
int RunAgent(int argc, char** argv);

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_AGENT_APP_H_
