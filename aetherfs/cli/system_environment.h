#ifndef AETHERFS_CLI_SYSTEM_ENVIRONMENT_H_
#define AETHERFS_CLI_SYSTEM_ENVIRONMENT_H_

#include "aetherfs/cli/cli.h"

namespace aetherfs {

// The process's own arguments, streams, clock and connections. Connections that it makes live as long as
// the process: shutting them down in order takes longer than most commands do.
CliEnvironment SystemCliEnvironment(int argc, const char* const* argv, Interrupt* interrupt);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_SYSTEM_ENVIRONMENT_H_
