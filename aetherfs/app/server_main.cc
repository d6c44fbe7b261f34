#include "aetherfs/app/process_setup.h"
#include "aetherfs/server/run_server.h"

int main(int argc, char** argv) {
  aetherfs::SetUpTransferProcess();
  return aetherfs::RunServer(argc, argv);
}
