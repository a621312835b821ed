#include "formats/blocks.h"
#include "formats/kernel.h"
#include "formats/rows.h"

namespace sparsernn {
namespace SPARSERNN_INSTRUCTIONS {

FormatKernels float_formats() {
    return {format_kernel<Blocks>(Format::blocks), format_kernel<RowsOfNumbers>(Format::rows)};
}

}  // namespace SPARSERNN_INSTRUCTIONS
}  // namespace sparsernn
