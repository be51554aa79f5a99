#pragma once
// What a transport can do beyond the promises that all of them keep.

namespace conformance {

struct capabilities {
  bool travel;          ///< handles go to other processes
  bool backlog;         ///< a producer may put 64 MiB of small items and end before anybody reads
  bool survives_maker;  ///< a queue goes on when the process that made it has ended
  bool in_hand;         ///< an item in a dead consumer's hand is reported or redelivered
};

}  // namespace conformance
