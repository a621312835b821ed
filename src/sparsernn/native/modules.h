#pragma once

#include <nanobind/nanobind.h>

namespace sparsernn {

void bind_grams(nanobind::module_& module);
void bind_recurrence(nanobind::module_& module);
void bind_scan(nanobind::module_& module);
void bind_sparse(nanobind::module_& module);

}  // namespace sparsernn
