// Boost.Asio, compiled once (BOOST_ASIO_SEPARATE_COMPILATION): everybody else sees declarations only.
// Must not hold anything of ours. See libmp/meson.build, which passes the define on to whoever links the library.

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O1")  // the longest compilation of the library by far, and nothing of it is on a hot path
#endif
#include <boost/asio/impl/src.hpp>
