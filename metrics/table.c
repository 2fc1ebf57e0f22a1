/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/table.h"

#include <string.h>

#include "common/cleanup.h"

#define METRIC(scope, id, type, digits, name, label, n, values, help)                              \
    {METRIC_##scope, METRIC_##type, digits, name, label, n, values, help, CELL_##scope##_##id},
const struct metric metrics_table[] = {
#include "metrics/metrics.def"
};
#undef METRIC
const size_t metrics_count = VGPU_ARRAY_SIZE(metrics_table);

const char *const metric_quantiles[METRIC_QUANTILES] = {"0.5", "0.95", "0.99"};

unsigned metrics_cells(enum metric_scope scope)
{
    static const unsigned cells[METRIC_SCOPES] = {CELLS_OF_GLOBAL, CELLS_OF_GPU, CELLS_OF_POOL,
                                                  CELLS_OF_VM};

    return cells[scope];
}

size_t metrics_word(const char *words, unsigned n, const char **ret)
{
    while (n-- > 0) {
        words += strcspn(words, " ");
        if (!*words++)
            return 0;
    }
    *ret = words;
    return strcspn(words, " ");
}
