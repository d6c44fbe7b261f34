#include "aetherfs/config/option_set.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/config/field_set.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// The surroundings of one run, scripted.
struct Surroundings {
  std::map<std::string, std::string> environment;
  std::map<std::string, std::string> files;

  absl::StatusOr<ParseOutcome> Parse(OptionSet& options, const std::vector<std::string>& args) const {
    return options.Parse(
        args,
        [this](const std::string& name) -> std::optional<std::string> {
          const auto found = environment.find(name);
          if (found == environment.end()) return std::nullopt;
          return found->second;
        },
        [this](const std::string& path) -> absl::StatusOr<std::string> {
          const auto found = files.find(path);
          if (found == files.end()) return absl::NotFoundError("no such file");
          return found->second;
        });
  }
};

std::string ErrorOf(const absl::StatusOr<ParseOutcome>& outcome) {
  return outcome.ok() ? "no error" : Describe(outcome.status());
}

// As the server declares it.
struct ServerExample {
  std::string listen = "127.0.0.1:7400";
  std::string http_listen = "127.0.0.1:7401";
  std::string store = "file:///var/lib/aetherfs/store";
  uint64_t cache_memory = 256 * kMiB;
  std::vector<std::string> peers;
  absl::Duration poll_interval = absl::Seconds(5);
  int max_streams = 10000;
  bool reflection = true;
  std::string log_format = "text";
  std::string token;
  OptionSet options{"aetherfs-server", "serves datasets from an object store"};

  ServerExample() {
    options.Add("listen", &listen, "address for gRPC").ValueName("HOST:PORT");
    options.Add("http-listen", &http_listen, "address for metrics and health").ValueName("HOST:PORT");
    options.Add("store", &store, "where everything durable lies").ValueName("URL");
    options.AddSize("cache-memory", &cache_memory, "bytes of cache in memory");
    options.Add("peers", &peers, "other servers").ValueName("HOST:PORT,...");
    options.Add("poll-interval", &poll_interval, "time between looks at a journal");
    options.AddInt("max-streams", &max_streams, {1, 100000}, "subscribers at once");
    options.Add("reflection", &reflection, "serve gRPC reflection");
    options.Add("log-format", &log_format, "form of log lines").Choices({"text", "json"});
    options.Add("token", &token, "bearer token for peers").Secret();
  }
};

constexpr char kServerYaml[] = R"(# A server on S3.
listen: "[::]:7400"
http-listen: ":7401"
store: s3://datasets/prod?region=eu-central-1
cache-memory: 2GiB
poll-interval: 2s
peers:
  - a:7400
  - b:7400
reflection: no
token: hush
)";

TEST(OptionSetTest, DefaultsStandWhenNothingIsSaid) {
  ServerExample server;
  const auto outcome = Surroundings{}.Parse(server.options, {});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->action, ParseOutcome::Action::kRun);
  EXPECT_EQ(server.listen, "127.0.0.1:7400");
  EXPECT_EQ(server.cache_memory, 256 * kMiB);
  EXPECT_FALSE(outcome->WasSet("listen"));
}

TEST(OptionSetTest, FileFillsEveryKindOfOption) {
  ServerExample server;
  const Surroundings surroundings{{}, {{"s.yaml", kServerYaml}}};
  const auto outcome = surroundings.Parse(server.options, {"--config", "s.yaml"});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(server.listen, "[::]:7400");
  EXPECT_EQ(server.store, "s3://datasets/prod?region=eu-central-1");
  EXPECT_EQ(server.cache_memory, 2 * kGiB);
  EXPECT_EQ(server.poll_interval, absl::Seconds(2));
  EXPECT_THAT(server.peers, ElementsAre("a:7400", "b:7400"));
  EXPECT_FALSE(server.reflection);
  EXPECT_EQ(server.token, "hush");
  EXPECT_EQ(outcome->config_file, "s.yaml");
  EXPECT_EQ(outcome->sources.at("peers"), OptionSource::kConfigFile);
}

TEST(OptionSetTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  ServerExample server;
  const Surroundings surroundings{{{"AETHERFS_CONFIG", "s.yaml"},
                                   {"AETHERFS_POLL_INTERVAL", "3s"},
                                   {"AETHERFS_CACHE_MEMORY", "1MiB"},
                                   {"AETHERFS_PEERS", "c:1, d:2"}},
                                  {{"s.yaml", kServerYaml}}};
  const auto outcome = surroundings.Parse(server.options, {"--cache-memory=7MiB"});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(server.cache_memory, 7 * kMiB);
  EXPECT_EQ(server.poll_interval, absl::Seconds(3));
  EXPECT_EQ(server.http_listen, ":7401");
  EXPECT_EQ(server.max_streams, 10000);
  EXPECT_THAT(server.peers, ElementsAre("c:1", "d:2")) << "a layer replaces a list, it does not add to it";
  EXPECT_EQ(outcome->sources.at("cache-memory"), OptionSource::kFlag);
  EXPECT_EQ(outcome->sources.at("poll-interval"), OptionSource::kEnvironment);
}

TEST(OptionSetTest, ConfigFlagBeatsConfigVariable) {
  ServerExample server;
  const Surroundings surroundings{{{"AETHERFS_CONFIG", "missing"}}, {{"s.yaml", kServerYaml}}};
  EXPECT_TRUE(surroundings.Parse(server.options, {"--config=s.yaml"}).ok());
}

TEST(OptionSetTest, EmptyVariableCountsAsUnset) {
  ServerExample server;
  const auto outcome =
      Surroundings{{{"AETHERFS_MAX_STREAMS", ""}, {"AETHERFS_LISTEN", ""}}, {}}.Parse(server.options, {});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(server.listen, "127.0.0.1:7400");
}

TEST(OptionSetTest, FlagMayBeEmptyAndTheLastOneWins) {
  ServerExample server;
  ASSERT_TRUE(Surroundings{}.Parse(server.options, {"--http-listen", "a:1", "--http-listen="}).ok());
  EXPECT_EQ(server.http_listen, "");
}

TEST(OptionSetTest, RepeatedAndCommaSeparatedFlagsMakeOneList) {
  ServerExample server;
  ASSERT_TRUE(Surroundings{}.Parse(server.options, {"--peers", "a:1,b:2", "--peers", "c:3"}).ok());
  EXPECT_THAT(server.peers, ElementsAre("a:1", "b:2", "c:3"));
}

TEST(OptionSetTest, TruthValuesNeedNoWordButTakeOne) {
  ServerExample server;
  ASSERT_TRUE(Surroundings{}.Parse(server.options, {"--reflection=false"}).ok());
  EXPECT_FALSE(server.reflection);
}

TEST(OptionSetTest, WrongArgumentsAreNamedWithTheNearestRightOne) {
  const struct {
    std::vector<std::string> args;
    std::string error;
  } cases[] = {
      {{"--cache-memroy", "1"}, "unknown flag '--cache-memroy'; did you mean '--cache-memory'?"},
      {{"--zzz"}, "unknown flag '--zzz'"},
      {{"-x"}, "unknown flag '-x'"},
      {{"--listen"}, "--listen needs a value: --listen HOST:PORT"},
      {{"--cache-memory", "lots"}, "--cache-memory: 'lots' is not a size"},
      {{"--poll-interval", "-1s"}, "--poll-interval: '-1s' is not a time"},
      {{"--max-streams", "0"}, "--max-streams: '0' is not a whole number from 1 to 100000"},
      {{"--max-streams", "12x"}, "--max-streams: '12x' is not a whole number"},
      {{"--max-streams", "99999999999999999999"}, "is not a whole number"},
      {{"--reflection=maybe"}, "--reflection: 'maybe' is not a truth value"},
      {{"--log-format", "xml"}, "--log-format: 'xml' is not one of text, json"},
      {{"--peers", "a,,b"}, "--peers: 'a,,b' has an empty element"},
      {{"stray"}, "unexpected argument 'stray'; usage: aetherfs-server [FLAG]..."},
      {{"--config", "gone.yaml"}, "NOT_FOUND: read configuration file 'gone.yaml': no such file"},
  };
  for (const auto& c : cases) {
    ServerExample server;
    EXPECT_THAT(ErrorOf(Surroundings{}.Parse(server.options, c.args)), HasSubstr(c.error));
  }
}

TEST(OptionSetTest, WrongVariableIsNamed) {
  ServerExample server;
  EXPECT_THAT(ErrorOf(Surroundings{{{"AETHERFS_MAX_STREAMS", "many"}}, {}}.Parse(server.options, {})),
              HasSubstr("INVALID_ARGUMENT: AETHERFS_MAX_STREAMS: 'many' is not a whole number"));
}

TEST(OptionSetTest, WrongFileIsAnErrorWithFileAndLine) {
  const std::pair<std::string, std::string> cases[] = {
      {"listen: a\ncache-memori: 1", "s.yaml:2: unknown key 'cache-memori'; did you mean 'cache-memory'?"},
      {"\ncache-memory: lots", "s.yaml:2: cache-memory: 'lots' is not a size"},
      {"listen: a\nlisten: b", "s.yaml:2: key 'listen' stands twice, first in line 1"},
      {"listen: {a: b}", "s.yaml:1: listen: expected one value, not a map"},
      {"listen: [a]", "s.yaml:1: listen: expected one value, not a sequence"},
      {"peers:\n  a: b", "peers: expected a list, not a map"},
      {"peers:\n  - a\n  - [b]", "s.yaml:3: peers: expected one value in each line"},
      {"- listen", "s.yaml:1: expected a map"},
      {"config: other.yaml", "s.yaml:1: 'config' can only be given as the flag --config"},
      {"a: [", "not valid YAML"},
      {"listen: a\n---\nlisten: b", "a second YAML document"},
      {"{[1]: 2}", "a key must be plain text"},
      {"max-streams:", "max-streams: '' is not a whole number"},
  };
  for (const auto& [yaml, error] : cases) {
    ServerExample server;
    EXPECT_THAT(ErrorOf(Surroundings{{}, {{"s.yaml", yaml}}}.Parse(server.options, {"--config=s.yaml"})),
                HasSubstr(error))
        << yaml;
  }
}

TEST(OptionSetTest, EmptyFileSaysNothing) {
  for (const char* yaml : {"", "# only words\n", "---\n"}) {
    ServerExample server;
    EXPECT_TRUE((Surroundings{{}, {{"s.yaml", yaml}}}.Parse(server.options, {"--config=s.yaml"}).ok()))
        << yaml;
  }
}

TEST(OptionSetTest, FileBeyondTheLimitIsRefused) {
  ServerExample server;
  const Surroundings surroundings{{}, {{"s.yaml", std::string(kMaxConfigFileBytes + 1, '#')}}};
  EXPECT_THAT(ErrorOf(surroundings.Parse(server.options, {"--config=s.yaml"})),
              HasSubstr("RESOURCE_EXHAUSTED"));
}

TEST(OptionSetTest, SecretComesFromTheEnvironmentAndNeverFromAFlag) {
  ServerExample by_environment;
  ASSERT_TRUE((Surroundings{{{"AETHERFS_TOKEN", "hush"}}, {}}.Parse(by_environment.options, {}).ok()));
  EXPECT_EQ(by_environment.token, "hush");

  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"--token", "hush"}, {"--token=hush"}}) {
    ServerExample by_flag;
    const std::string error = ErrorOf(Surroundings{}.Parse(by_flag.options, args));
    EXPECT_THAT(error, HasSubstr("--token: a secret is not taken from a flag"));
    EXPECT_THAT(error, HasSubstr("AETHERFS_TOKEN"));
    EXPECT_THAT(error, Not(HasSubstr("hush")));
  }
}

TEST(OptionSetTest, SecretStaysOutOfHelpAndMessages) {
  std::string pin = "initial-secret";
  OptionSet options("p", "s");
  options.Add("pin", &pin, "a secret word").Secret().Choices({"a"});
  EXPECT_THAT(options.HelpText(), Not(HasSubstr("initial-secret")));
  const std::string error =
      ErrorOf(Surroundings{{{"AETHERFS_PIN", "wrong-secret"}}, {}}.Parse(options, {}));
  EXPECT_THAT(error, HasSubstr("AETHERFS_PIN"));
  EXPECT_THAT(error, Not(HasSubstr("wrong-secret")));
}

TEST(OptionSetTest, HelpListsFlagsWithDefaultsAndVariables) {
  ServerExample server;
  const auto outcome = Surroundings{}.Parse(server.options, {"--unheard-of", "--help"});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->action, ParseOutcome::Action::kShowHelp);
  EXPECT_THAT(outcome->help_text, HasSubstr("aetherfs-server: serves datasets from an object store"));
  EXPECT_THAT(outcome->help_text, HasSubstr("--cache-memory SIZE"));
  EXPECT_THAT(outcome->help_text, HasSubstr("default 256MiB; env AETHERFS_CACHE_MEMORY"));
  EXPECT_THAT(outcome->help_text, HasSubstr("--config FILE"));
  for (size_t begin = 0; begin < outcome->help_text.size();) {
    const size_t end = outcome->help_text.find('\n', begin);
    EXPECT_LE(end - begin, 100u) << outcome->help_text.substr(begin, end - begin);
    begin = end + 1;
  }
}

TEST(OptionSetTest, VersionIsAskedFor) {
  ServerExample server;
  const auto outcome = Surroundings{}.Parse(server.options, {"--version"});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->action, ParseOutcome::Action::kShowVersion);
}

TEST(OptionSetTest, DeclaringAnOptionTwiceIsABug) {
  std::string a, b;
  OptionSet options("p", "s");
  options.Add("same", &a, "");
  options.Add("same", &b, "");
  EXPECT_THAT(ErrorOf(Surroundings{}.Parse(options, {})), HasSubstr("INTERNAL"));
}

// As the agent declares it: one structured key.
struct SubscriptionExample {
  std::string reference;
  std::string path;
  uint32_t keep = 2;
  absl::Duration check_timeout = absl::Minutes(1);
  uint64_t budget = 0;
  std::vector<std::string> check;
  std::vector<std::string> include;
};

absl::Status ReadSubscription(const YamlNode& node, SubscriptionExample& out) {
  FieldSet fields;
  fields.Require("reference", &out.reference);
  fields.Add("path", &out.path);
  fields.AddInt("keep", &out.keep, {1, 1000});
  fields.Add("check-timeout", &out.check_timeout);
  fields.AddSize("budget", &out.budget);
  fields.Add("check", &out.check);
  fields.AddNested("files", [&](const YamlNode& files) {
    FieldSet globs;
    globs.Add("include", &out.include);
    return globs.Read(files);
  });
  return fields.Read(node);
}

struct AgentExample {
  std::vector<std::string> server = {"127.0.0.1:7400"};
  std::string root = "/var/lib/aetherfs/agent";
  std::vector<SubscriptionExample> subscriptions;
  OptionSet options{"aetherfs-agent", "keeps datasets current on this machine"};

  AgentExample() {
    options.Add("server", &server, "servers to talk to");
    options.Add("root", &root, "directory tree of this agent");
    options.AddStructured("subscriptions", "what to keep current", [this](const YamlNode& node) {
      return ReadSequence(node, "subscriptions", 2, [this](const YamlNode& item) {
        subscriptions.emplace_back();
        return ReadSubscription(item, subscriptions.back());
      });
    });
  }
};

TEST(OptionSetTest, StructuredKeyIsReadStrictly) {
  AgentExample agent;
  const Surroundings surroundings{{}, {{"agent.yaml", R"(
server: [a:7400, b:7400]
subscriptions:
  - reference: maxmind/city:stable
    keep: 3
    check: [/usr/bin/check, --fast, "a,b"]
    check-timeout: 1m30s
    budget: 1GiB
    files:
      include: ["*.mmdb"]
  - reference: fonts
)"}}};
  const auto outcome = surroundings.Parse(agent.options, {"--config=agent.yaml"});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_EQ(agent.subscriptions.size(), 2u);
  const SubscriptionExample& first = agent.subscriptions[0];
  EXPECT_EQ(first.reference, "maxmind/city:stable");
  EXPECT_EQ(first.keep, 3u);
  EXPECT_EQ(first.check_timeout, absl::Seconds(90));
  EXPECT_EQ(first.budget, kGiB);
  EXPECT_THAT(first.check, ElementsAre("/usr/bin/check", "--fast", "a,b"));
  EXPECT_THAT(first.include, ElementsAre("*.mmdb"));
  EXPECT_EQ(agent.subscriptions[1].keep, 2u);
  EXPECT_THAT(agent.server, ElementsAre("a:7400", "b:7400"));
}

TEST(OptionSetTest, WrongStructuredKeysAreErrorsWithFileAndLine) {
  const std::pair<std::string, std::string> cases[] = {
      {"subscriptions:\n  - reference: a\n    kepe: 3",
       "a.yaml:3: unknown key 'kepe'; did you mean 'keep'?"},
      {"subscriptions:\n  - path: a", "a.yaml:2: key 'reference' is missing"},
      {"subscriptions:\n  - reference: a\n    keep: 0",
       "a.yaml:3: keep: '0' is not a whole number from 1 to 1000"},
      {"subscriptions:\n  - just-text", "a.yaml:2: expected a map"},
      {"subscriptions: text", "a.yaml:1: subscriptions: expected a list"},
      {"subscriptions: [{reference: a}, {reference: b}, {reference: c}]", "3 elements; at most 2"},
      {"subscriptons: []", "a.yaml:1: unknown key 'subscriptons'; did you mean 'subscriptions'?"},
      {"subscriptions:\n  - reference: a\n    files:\n      exclude: [b]",
       "a.yaml:4: unknown key 'exclude'"},
  };
  for (const auto& [yaml, error] : cases) {
    AgentExample agent;
    EXPECT_THAT(ErrorOf(Surroundings{{}, {{"a.yaml", yaml}}}.Parse(agent.options, {"--config=a.yaml"})),
                HasSubstr(error))
        << yaml;
  }
}

TEST(OptionSetTest, StructuredKeyHasNoFlag) {
  AgentExample agent;
  EXPECT_THAT(ErrorOf(Surroundings{}.Parse(agent.options, {"--subscriptions", "x"})),
              HasSubstr("unknown flag '--subscriptions'"));
}

// As the command line declares it.
struct CliExample {
  std::string server = "127.0.0.1:7400";
  std::string output = "text";
  bool quiet = false;
  std::string reference, directory, prefix, message;
  std::vector<std::string> tags, labels, references;
  bool expect_absent = false;
  OptionSet options{"aetherfs", "moves datasets"};

  CliExample() {
    options.Add("server", &server, "servers to talk to");
    options.Add("output", &output, "form of what is printed").Short('o').Choices({"text", "json"});
    options.Add("quiet", &quiet, "no progress").Short('q');
    OptionSet& publish = options.AddCommand("publish", "publish a directory");
    publish.AddPositional("REF", &reference, "what to publish as");
    publish.AddPositional("PATH", &directory, "the directory");
    publish.Add("tag", &tags, "another tag").Short('t').ValueName("TAG");
    publish.Add("message", &message, "why").Short('m');
    publish.Add("label", &labels, "a label").ValueName("K=V").Whole();
    publish.Add("expect-absent", &expect_absent, "fail if the tag is there");
    OptionSet& watch = options.AddCommand("watch", "one line per new version");
    watch.AddPositional("REF", &references, "what to watch");
    OptionSet& ls = options.AddCommand("ls", "list datasets");
    ls.AddPositional("PREFIX", &prefix, "only those that begin so").Optional();
  }
};

TEST(OptionSetTest, CommandTakesItsOwnAndGlobalFlagsInAnyOrder) {
  CliExample cli;
  const auto outcome =
      Surroundings{}.Parse(cli.options, {"--server", "a:1", "publish", "-t", "stable", "maps/city", "-tv1",
                                         "--label", "k=a,b", "-qojson", "--expect-absent", "--", "-dir"});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->command, "publish");
  EXPECT_EQ(cli.server, "a:1");
  EXPECT_EQ(cli.reference, "maps/city");
  EXPECT_EQ(cli.directory, "-dir");
  EXPECT_THAT(cli.tags, ElementsAre("stable", "v1"));
  EXPECT_THAT(cli.labels, ElementsAre("k=a,b"));
  EXPECT_EQ(cli.output, "json");
  EXPECT_TRUE(cli.quiet);
  EXPECT_TRUE(cli.expect_absent);
}

TEST(OptionSetTest, GlobalFlagsOfACommandLineHaveVariablesAndFileButCommandFlagsDoNot) {
  CliExample cli;
  const Surroundings surroundings{{{"AETHERFS_SERVER", "b:2"}, {"AETHERFS_MESSAGE", "no"}},
                                  {{"c.yaml", "output: json"}}};
  ASSERT_TRUE(surroundings.Parse(cli.options, {"publish", "a", "b", "--config", "c.yaml"}).ok());
  EXPECT_EQ(cli.server, "b:2");
  EXPECT_EQ(cli.output, "json");
  EXPECT_EQ(cli.message, "");
}

TEST(OptionSetTest, PositionalsAreCounted) {
  CliExample many;
  ASSERT_TRUE(Surroundings{}.Parse(many.options, {"watch", "a", "b", "c"}).ok());
  EXPECT_THAT(many.references, ElementsAre("a", "b", "c"));
  CliExample none;
  ASSERT_TRUE(Surroundings{}.Parse(none.options, {"ls"}).ok());
  EXPECT_THAT(none.prefix, IsEmpty());
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"publish", "a"}, "argument PATH is missing; usage: aetherfs publish [FLAG]... REF PATH"},
      {{"watch"}, "argument REF is missing; usage: aetherfs watch [FLAG]... REF..."},
      {{"ls", "a", "b"}, "unexpected argument 'b'; usage: aetherfs ls [FLAG]... [PREFIX]"},
      {{}, "no command given; 'aetherfs --help' lists them"},
      {{"pubish"}, "unknown command 'pubish'; did you mean 'publish'?"},
      {{"--tag", "x", "publish", "a", "b"},
       "unknown flag '--tag' here; it belongs after the command 'publish'"},
      {{"ls", "--tag", "x"}, "unknown flag '--tag'"},
  };
  for (const auto& [args, error] : cases) {
    CliExample cli;
    EXPECT_THAT(ErrorOf(Surroundings{}.Parse(cli.options, args)), HasSubstr(error));
  }
}

TEST(OptionSetTest, HelpOfACommandShowsItsUsage) {
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"publish", "-h"}, {"help", "publish"}}) {
    CliExample cli;
    const auto outcome = Surroundings{}.Parse(cli.options, args);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_THAT(outcome->help_text, HasSubstr("Usage: aetherfs publish [FLAG]... REF PATH"));
    EXPECT_THAT(outcome->help_text, HasSubstr("-t, --tag TAG"));
    EXPECT_THAT(outcome->help_text, HasSubstr("-o, --output text|json"));
    EXPECT_THAT(outcome->help_text, Not(HasSubstr("AETHERFS_TAG")));
  }
  CliExample cli;
  const auto outcome = Surroundings{}.Parse(cli.options, {"help"});
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(outcome->help_text, HasSubstr("Commands:\n  publish "));
}

TEST(OptionSetTest, HelpOfACommandThatIsNoneIsAnError) {
  CliExample cli;
  EXPECT_THAT(ErrorOf(Surroundings{}.Parse(cli.options, {"help", "pubish"})),
              HasSubstr("unknown command 'pubish'; did you mean 'publish'?"));
}

TEST(OptionSetTest, HostileBytesAreEscapedInMessages) {
  CliExample cli;
  const std::string error = ErrorOf(Surroundings{}.Parse(cli.options, {"pu\x1b[31m\xff"}));
  EXPECT_THAT(error, Not(HasSubstr("\x1b")));
  EXPECT_THAT(error, HasSubstr("unknown command"));
}

TEST(SystemFileReaderTest, ReadsFilesAndNamesWhatIsMissing) {
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("aetherfs-config-test-" + std::to_string(getpid()));
  std::filesystem::create_directory(directory);
  const std::string path = directory / "c.yaml";
  std::ofstream(path) << "listen: x\n";
  const FileReader read = SystemFileReader();
  const auto content = read(path);
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_EQ(*content, "listen: x\n");
  EXPECT_EQ(read(path + ".missing").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(read(directory).ok());
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace aetherfs
