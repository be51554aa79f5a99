#pragma once
/// @file
/// Everything that libmp offers, but the face made for users of CAF.
///
/// Shape:    floors 0 to 4 (`<mp/core.hpp>`); pools and supervisors will join here.
/// Threads:  see each header.        Processes: see each header.

#include "mp/core.hpp"  // IWYU pragma: export
