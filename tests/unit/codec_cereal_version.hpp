#pragma once
// A class whose version stands in another file.

#include <cstdint>

class versioned_elsewhere {
public:
  std::uint32_t seen = 0;
  template <class Archive>
  void serialize(Archive& ar, std::uint32_t version) {
    std::uint8_t something = 1;
    ar(something);
    seen = version;
  }
};

/// As the file with the version sees it.
std::uint32_t version_seen_elsewhere();
