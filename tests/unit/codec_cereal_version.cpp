// Says what the version of a class is; other files only use it.

#include "codec_cereal_version.hpp"

#include "mp/codec.hpp"

#include <cereal/cereal.hpp>

CEREAL_CLASS_VERSION(versioned_elsewhere, 6)

std::uint32_t version_seen_elsewhere() {
  const auto message = mp::detail::encode_to_buffer(versioned_elsewhere());
  mp::detail::decoder d(message.bytes, {});
  return mp::detail::decode<versioned_elsewhere>(d).seen;
}
