#include "formats/int8_blocks.h"
#include "formats/int8_lookup.h"
#include "formats/kernel.h"

namespace sparsernn {
namespace SPARSERNN_INSTRUCTIONS {

FormatKernels int8_formats() {
    return {format_kernel<Int8Blocks>(Format::int8_blocks), format_kernel<Int8Lookup>(Format::int8_lookup)};
}

}  // namespace SPARSERNN_INSTRUCTIONS
}  // namespace sparsernn
