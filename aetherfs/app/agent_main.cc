#include "aetherfs/agent/agent_app.h"
#include "aetherfs/app/process_setup.h"

int main(int argc, char** argv) {
  aetherfs::SetUpTransferProcess();
  return aetherfs::RunAgent(argc, argv);
}
