/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a token file, and as a token. */
#include <stdlib.h>
#include <string.h>

#include "agent/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1);
    static struct tokens tokens;

    memcpy(text, data, size);
    if (tokens_parse(&tokens, text, NULL) == 0)
        for (unsigned i = 0; i < tokens.n; i++)
            if (!token_name_ok(tokens.rows[i].name))
                abort();
    tokens_find(&tokens, text);
    free(text);
    return 0;
}
