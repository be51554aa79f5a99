#pragma once
/// @file
/// Floors 0 to 4 of libmp: processes that talk. Links the library libmp, no CAF.
///
/// Shape:    one header per noun; each may be included alone. tests/lint checks that all of them are here.
/// Threads:  see each header.        Processes: see each header.

#include "mp/address.hpp"          // IWYU pragma: export
#include "mp/channel_options.hpp"  // IWYU pragma: export
#include "mp/codec.hpp"            // IWYU pragma: export
#include "mp/connection.hpp"       // IWYU pragma: export
#include "mp/duration.hpp"         // IWYU pragma: export
#include "mp/error.hpp"            // IWYU pragma: export
#include "mp/exit_status.hpp"      // IWYU pragma: export
#include "mp/failure.hpp"          // IWYU pragma: export
#include "mp/future.hpp"           // IWYU pragma: export
#include "mp/init.hpp"             // IWYU pragma: export
#include "mp/mailbox.hpp"          // IWYU pragma: export
#include "mp/pipe.hpp"             // IWYU pragma: export
#include "mp/process.hpp"          // IWYU pragma: export
#include "mp/process_options.hpp"  // IWYU pragma: export
#include "mp/queue.hpp"            // IWYU pragma: export
#include "mp/remote_error.hpp"     // IWYU pragma: export
#include "mp/task.hpp"             // IWYU pragma: export
#include "mp/this_process.hpp"     // IWYU pragma: export
#include "mp/unique_fd.hpp"        // IWYU pragma: export
#include "mp/wait.hpp"             // IWYU pragma: export
