#pragma once
/// @file
/// What public headers need of <algorithm>, <chrono>, <functional> and <ranges>: min and max, durations and clocks,
/// std::function and std::invoke, the concepts of ranges. Without algorithms, calendars, binders and views, which cost
/// every user's compiler half a second.
/// Not for users.
///
/// Shape:    libstdc++ has these parts apart; with any other library the whole headers are included.
/// Threads:  includes only.          Processes: includes only.

#if __has_include(<bits/chrono.h>) && __has_include(<bits/ranges_base.h>) && __has_include(<bits/std_function.h>)
#include <initializer_list>
#include <iterator>

#include <bits/chrono.h>
#include <bits/invoke.h>
#include <bits/ranges_base.h>
#include <bits/refwrap.h>
#include <bits/std_function.h>
#include <bits/stl_algobase.h>
#else
#include <algorithm>
#include <chrono>
#include <functional>
#include <ranges>
#endif
