#include "aetherfs/server/run_server.h"

int main(int argc, char** argv) { return aetherfs::RunServer(argc, argv); }
