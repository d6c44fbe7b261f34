#include "aetherfs/agent/agent_app.h"

int main(int argc, char** argv) { return aetherfs::RunAgent(argc, argv); }
