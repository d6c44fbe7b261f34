#ifndef AETHERFS_SERVER_RUN_SERVER_H_
#define AETHERFS_SERVER_RUN_SERVER_H_

namespace aetherfs {

// The process aetherfs-server, from its arguments to its exit status: 0 after a signal, 1 if it cannot
// serve, 2 for wrong usage. Blocks. Call it first thing in main: it sets up signals before any thread.
int RunServer(int argc, const char* const* argv);

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_RUN_SERVER_H_
