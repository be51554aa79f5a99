// Between CAF's messages and our codec. Must never give a byte that came from elsewhere to a deserializer of CAF's.

// CAF 0.17 reads sequences through a variable that g++ 12 sees uninitialised; nothing here ever calls that.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "caf_letters.hpp"

#include "mp/caf.hpp"
#include "mp/error.hpp"

#include <caf/deep_to_string.hpp>
#include <caf/make_message.hpp>
#include <caf/sec.hpp>

#include <algorithm>

namespace mp {
namespace detail {
namespace {

const caf::atom_value ended_by = caf::atom("mp-ended");  // an exit status
const caf::atom_value said_by = caf::atom("mp");         // an mp::errc

template <class... T>
void add(caf_words& all) {
  (all.push_back(caf_word_of<T>()), ...);
}
const caf_word* find(const caf_words& words, std::uint64_t hash) {
  const auto at = std::find_if(words.begin(), words.end(), [&](const caf_word& w) { return w.hash == hash; });
  return at == words.end() ? nullptr : &*at;
}

}  // namespace

const caf_words& basic_caf_words() {
  static const caf_words all = [] {
    caf_words w;
    add<bool, std::int8_t, std::uint8_t, std::int16_t, std::uint16_t, std::int32_t, std::uint32_t, std::int64_t,
        std::uint64_t, float, double, std::string, caf::atom_value>(w);
    // Spelled out: g++ writes the name of a vector made in a template in another way, and the name is hashed.
    add<std::vector<std::int8_t>, std::vector<std::uint8_t>, std::vector<std::int16_t>, std::vector<std::uint16_t>,
        std::vector<std::int32_t>, std::vector<std::uint32_t>, std::vector<std::int64_t>, std::vector<std::uint64_t>,
        std::vector<float>, std::vector<double>, std::vector<std::string>, std::vector<caf::atom_value>>(w);
    return w;
  }();
  return all;
}

caf_letter::caf_letter(const caf::message& m, const caf_words& words) : message_(m) {
  for (std::size_t i = 0; i < m.size(); ++i) {
    const auto at = std::find_if(words.begin(), words.end(), [&](const caf_word& w) { return w.fits(m, i); });
    if (at == words.end())
      throw_error(errc::unencodable, "element " + std::to_string(i) + " of the message " + caf::deep_to_string(m) +
                                         " is of a type that is not spoken: name it with mp::speaks<type>{}");
    types_.push_back(at->hash);
    words_.push_back(&*at);
  }
}

void caf_letter::write(encoder& e) const {
  for (std::size_t i = 0; i < words_.size(); ++i) words_[i]->write(message_, i, e);
}

caf::message read_caf_message(std::span<const std::uint64_t> types, decoder& from, const caf_words& words) {
  caf::message_builder into;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const caf_word* word = find(words, types[i]);
    if (!word)
      throw_error(errc::undecodable,
                  "element " + std::to_string(i) +
                      " of a message is of a type that is not spoken here: name it with mp::speaks<type>{}");
    word->read(from, into);
  }
  from.finish();
  return into.to_message();
}

caf::error reason_of(const mp::exit_status& status) {
  if (status.success()) return caf::none;
  // {text for people, kind, number, core}
  const std::int32_t kind = status.is_exited() ? 1 : status.is_signaled() ? 2 : 3;
  const std::int32_t number = status.code().value_or(status.signal().value_or(0));
  return caf::error(static_cast<std::uint8_t>(kind), ended_by,
                    caf::make_message(to_string(status), kind, number, status.core_dumped()));
}

caf::error caf_error_of(std::exception_ptr problem) noexcept {
  try {
    std::rethrow_exception(std::move(problem));
  } catch (const error& e) {
    if (e.code() == errc::peer_died || e.code() == errc::closed) return caf::sec::request_receiver_down;
    return caf::error(static_cast<std::uint8_t>(e.code().value()), said_by, caf::make_message(std::string(e.what())));
  } catch (const std::exception& e) {
    return caf::make_error(caf::sec::runtime_error, std::string(e.what()));
  } catch (...) {
    return caf::sec::runtime_error;
  }
}

caf::error caf_error_of(const caf_trouble& t) {
  return caf::error(t.code, static_cast<caf::atom_value>(t.category),
                    t.text.empty() ? caf::message() : caf::make_message(t.text));
}

caf_trouble trouble_of(const caf::error& e) {
  return {e.code(), static_cast<std::uint64_t>(e.category()),
          e.context().empty() ? std::string() : caf::deep_to_string(e.context())};
}

}  // namespace detail

std::optional<exit_status> exit_status_of(const caf::error& reason) {
  if (!reason) return exit_status::exited(0);
  if (reason.category() != detail::ended_by ||
      !reason.context().match_elements<std::string, std::int32_t, std::int32_t, bool>())
    return std::nullopt;
  const auto number = reason.context().get_as<std::int32_t>(2);
  switch (reason.context().get_as<std::int32_t>(1)) {
    case 1: return exit_status::exited(number);
    case 2: return exit_status::signaled(number, reason.context().get_as<bool>(3));
    default: return exit_status();
  }
}

}  // namespace mp
