#pragma once
/// @file
/// Everything that libmp offers, but the face made for users of CAF.
///
/// Shape:    floors 0 to 4 (`<mp/core.hpp>`), and floor 5 without anything of CAF. Links libmp-actors and libmp.
/// Threads:  see each header.        Processes: see each header.

#include "mp/core.hpp"            // IWYU pragma: export
#include "mp/pool.hpp"            // IWYU pragma: export
#include "mp/pool_options.hpp"    // IWYU pragma: export
#include "mp/pool_results.hpp"    // IWYU pragma: export
#include "mp/restart_limits.hpp"  // IWYU pragma: export
#include "mp/shutdown.hpp"        // IWYU pragma: export
#include "mp/supervisor.hpp"      // IWYU pragma: export
#include "mp/this_task.hpp"       // IWYU pragma: export
#include "mp/verdict.hpp"         // IWYU pragma: export
