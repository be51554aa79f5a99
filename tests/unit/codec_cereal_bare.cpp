// No header of cereal's here.

#include "codec_cereal_bare.hpp"

#include "mp/codec.hpp"

#ifdef CEREAL_CEREAL_HPP_
#error "libmp's headers include cereal's: every user's compiler pays for it"
#endif

std::vector<std::byte> bytes_of(const bare& value) { return mp::detail::encode_to_buffer(value).bytes; }
bare from_bytes(const std::vector<std::byte>& bytes) {
  mp::detail::decoder d(bytes, {});
  return mp::detail::decode<bare>(d);
}
