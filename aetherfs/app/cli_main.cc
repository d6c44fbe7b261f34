#include <unistd.h>

#include "aetherfs/app/process_setup.h"
#include "aetherfs/cli/cli.h"
#include "aetherfs/cli/interrupt.h"
#include "aetherfs/cli/system_environment.h"
#include "aetherfs/os/signals.h"

int main(int argc, char** argv) {
  aetherfs::SetUpTransferProcess();
  aetherfs::SignalListener signals;
  aetherfs::Interrupt interrupt;
  const auto stop = [&interrupt] { interrupt.Trigger(); };
  signals.Start({.terminate = stop, .reload = stop});  // a terminal that went is as good as Ctrl-C
  const int status = aetherfs::RunCli(aetherfs::SystemCliEnvironment(argc, argv, &interrupt));
  // Everything is written and flushed; an orderly end of threads and connections would only take time.
  _exit(status);
}
