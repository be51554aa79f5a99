// Boost.Asio, compiled once (BOOST_ASIO_SEPARATE_COMPILATION): everybody else sees declarations only.
// Must not hold anything of ours. See libmp/meson.build, which passes the define on to whoever links the library.

#include <boost/asio/impl/src.hpp>
