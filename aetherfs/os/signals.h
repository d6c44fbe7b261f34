#ifndef AETHERFS_OS_SIGNALS_H_
#define AETHERFS_OS_SIGNALS_H_

#include <functional>
#include <thread>

namespace aetherfs {

// Turns SIGTERM, SIGINT and SIGHUP into calls in a thread of its own. Made once per process, first thing in
// main, before any other thread: it blocks those signals in the calling thread, and so in all later ones.
// SIGPIPE is ignored from then on. A second SIGTERM or SIGINT ends the process at once.
class SignalListener {
 public:
  struct Handlers {
    std::function<void()> terminate;  // the first SIGTERM or SIGINT
    std::function<void()> reload;     // every SIGHUP
  };
  SignalListener();
  // Ends the thread.
  ~SignalListener();
  SignalListener(const SignalListener&) = delete;
  SignalListener& operator=(const SignalListener&) = delete;

  // Begins to listen; once. Signals that came earlier are handled now.
  void Start(Handlers handlers);

 private:
  void Run();
  int signal_fd_ = -1;
  int stop_fd_ = -1;
  Handlers handlers_;
  std::thread thread_;
};

}  // namespace aetherfs

#endif  // AETHERFS_OS_SIGNALS_H_
