#pragma once
// A class with cereal's functions that needs none of cereal's words.

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

class bare {
public:
  bare() = default;
  bare(int number, std::vector<std::string> words) : number_(number), words_(std::move(words)) {}
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number_, words_);
  }
  friend bool operator==(const bare&, const bare&) = default;

private:
  int number_ = 0;
  std::vector<std::string> words_;
};

std::vector<std::byte> bytes_of(const bare&);
bare from_bytes(const std::vector<std::byte>&);
