"""C functions of products with constant matrices."""

from sparsernn.deploy.c_step import FUNCTIONS

LANES = 16
"""Rows that a block has, and a register of AVX-512."""
TABLE = 32
"""Columns that a lookup chooses from, two registers of AVX-512."""
_OF_ANY_WIDTH = {
    "start_": """static void start_(CONSTANT_ float *bias, float *out, int rows) {
    for (int i = 0; i < rows; ++i) out[i] = bias ? bias[i] : 0.0f;
}
""",
    "matrix_": """static void matrix_(CONSTANT_ float *weight, const float *vector, float *out, int rows, int columns) {
    for (int i = 0; i < rows; ++i) {
        float sum = out[i];
        for (int k = 0; k < columns; ++k) sum += *weight++ * vector[k];
        out[i] = sum;
    }
}
""",
    "panel_": """static void panel_(CONSTANT_ float *weight, const float *vector, float *out, int columns) {
    float even[16], odd[16];
    int k = 0;
    for (int i = 0; i < 16; ++i) even[i] = out[i], odd[i] = 0.0f;
    for (; k + 1 < columns; k += 2)
        for (int i = 0; i < 16; ++i) {
            even[i] += weight[16 * k + i] * vector[k];
            odd[i] += weight[16 * k + 16 + i] * vector[k + 1];
        }
    if (k < columns)
        for (int i = 0; i < 16; ++i) even[i] += weight[16 * k + i] * vector[k];
    for (int i = 0; i < 16; ++i) out[i] = even[i] + odd[i];
}
""",
    "panels_": """static void panels_(CONSTANT_ float *weight, const float *vector, float *out, int rows, int columns) {
    for (int first = 0; first < rows; first += 16) panel_(weight + first * columns, vector, out + first, columns);
}
""",
    "lookup_": """static void lookup_(CONSTANT_ float *values, CONSTANT_ uint8_t *places, CONSTANT_ uint8_t *counts,
                    const float *vector, float *out, int slices, int columns) {
    for (int first = 0; first < columns; first += 32) {
        float table[32];
        for (int i = 0; i < 32; ++i) table[i] = first + i < columns ? vector[first + i] : 0.0f;
#if defined(__AVX512F__)
        const __m512 low = _mm512_loadu_ps(table), high = _mm512_loadu_ps(table + 16);
        for (int slice = 0; slice < slices; ++slice) {
            __m512 sum = _mm512_loadu_ps(out + 16 * slice);
            for (int k = *counts++; k > 0; --k, values += 16, places += 16) {
                const __m512i place = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)places));
                const __m512 read = _mm512_permutex2var_ps(low, place, high);
                sum = _mm512_fmadd_ps(_mm512_loadu_ps(values), read, sum);
            }
            _mm512_storeu_ps(out + 16 * slice, sum);
        }
#else
        for (int slice = 0; slice < slices; ++slice)
            for (int k = *counts++; k > 0; --k, values += 16, places += 16)
                for (int i = 0; i < 16; ++i) out[16 * slice + i] += values[i] * table[places[i]];
#endif
    }
}
""",
    "round_": """static float round_(const float *vector, int8_t *out, int count) {
    uint32_t bits, most = 0;
    float largest, half;
    for (int i = 0; i < count; ++i) {
        memcpy(&bits, vector + i, sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    memcpy(&largest, &most, sizeof largest);
    const float factor = most > 0 ? 127.0f / largest : 0.0f;
    for (int i = 0; i < count; ++i) {
        const float x = vector[i] * factor;
        memcpy(&bits, &x, sizeof bits);
        bits = (bits & 0x80000000u) | 0x3f000000u;
        memcpy(&half, &bits, sizeof half);
        out[i] = (int8_t)(int)(x + half);
    }
    return largest / 127.0f;
}
""",
    "eights_": """static void eights_(CONSTANT_ int8_t *values, CONSTANT_ float *scales, const int8_t *vector,
                    float scale, float *out, int rows, int columns) {
    for (int i = 0; i < rows; ++i) {
        int32_t sum = 0;
        for (int k = 0; k < columns; ++k) sum += (int16_t)(*values++ * vector[k]);
        out[i] += (float)sum * (scales[i] * scale);
    }
}
""",
}
_BY_WIDTH = {
    "blocks_BITS_": """static void blocks_BITS_(CONSTANT_ float *values, CONSTANT_ uintBITS_t *places,
                      CONSTANT_ uintBITS_t *counts, const float *vector, float *out, int slices) {
    float read[64];
    for (int slice = 0; slice < slices; ++slice)
        for (unsigned left = counts[slice], count; left > 0; left -= count) {
            count = left < 64 ? left : 64;
            for (unsigned k = 0; k < count; ++k) read[k] = vector[places[k]];
            panel_(values, read, out + 16 * slice, (int)count);
            values += 16 * count, places += count;
        }
}
""",
    "rows_BITS_": """static void rows_BITS_(CONSTANT_ float *values, CONSTANT_ uintBITS_t *places,
                    CONSTANT_ uintBITS_t *counts, const float *vector, float *out, int rows) {
    for (int i = 0; i < rows; ++i) {
        float sum = out[i];
        for (unsigned k = counts[i]; k > 0; --k) sum += *values++ * vector[*places++];
        out[i] = sum;
    }
}
""",
    "eight_rows_BITS_": """static void eight_rows_BITS_(CONSTANT_ int8_t *values, CONSTANT_ uintBITS_t *places,
                          CONSTANT_ uintBITS_t *counts, CONSTANT_ float *scales, const int8_t *vector,
                          float scale, float *out, int rows) {
    for (int i = 0; i < rows; ++i) {
        int32_t sum = 0;
        for (unsigned k = counts[i]; k > 0; --k) sum += (int16_t)(*values++ * vector[*places++]);
        out[i] += (float)sum * (scales[i] * scale);
    }
}
""",
}
"""Functions whose places and counts have 8 or 16 bits."""

PRODUCTS = {
    **FUNCTIONS,
    **_OF_ANY_WIDTH,
    **{
        name.replace("BITS", bits): text.replace("BITS", bits)
        for name, text in _BY_WIDTH.items()
        for bits in ("8", "16")
    },
}
"""Functions that a source with constant weights may need."""
