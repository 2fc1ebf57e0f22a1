/* SPDX-License-Identifier: Apache-2.0 */
#include "store/args.h"

#include <errno.h>
#include <string.h>

#include "store/text.h"

static const char *const *find_word(const char *const *words, const char *word)
{
    for (; *words; words++)
        if (strcmp(*words, word) == 0)
            return words;
    return NULL;
}

int args_known(const json_t *args, const char *const *names, struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];

    /* jansson's iteration takes a non-const object, and does not change it. */
    for (void *at = json_object_iter((json_t *)(uintptr_t)args); at;
         at = json_object_iter_next((json_t *)(uintptr_t)args, at)) {
        const char *key = json_object_iter_key(at);

        if (!find_word(names, key))
            return vgpu_err_set(err, EINVAL, "there is no argument %s here", text_show(shown, key));
    }
    return 0;
}

/* 1: *ret_value is there; 0: it is not, and need not be. */
static int find(const json_t *args, const char *name, bool required, const json_t **ret_value,
                struct vgpu_err *err)
{
    const json_t *value = json_object_get(args, name);

    if (value && !json_is_null(value)) {
        *ret_value = value;
        return 1;
    }
    return required ? vgpu_err_set(err, EINVAL, "the argument '%s' is missing", name) : 0;
}

int args_text(const json_t *args, const char *name, bool required, const char **ret_text,
              struct vgpu_err *err)
{
    const json_t *value = NULL;
    int rc = find(args, name, required, &value, err);

    if (rc <= 0)
        return rc;
    if (!json_is_string(value))
        return vgpu_err_set(err, EINVAL, "the argument '%s' is not a text", name);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return vgpu_err_set(err, EINVAL, "the argument '%s' contains a NUL character", name);
    *ret_text = json_string_value(value);
    return 0;
}

int args_integer(const json_t *args, const char *name, bool required, int64_t least, int64_t most,
                 int64_t *ret_integer, struct vgpu_err *err)
{
    const json_t *value = NULL;
    int64_t integer;
    int rc = find(args, name, required, &value, err);

    if (rc <= 0)
        return rc;
    if (!json_is_integer(value))
        return vgpu_err_set(err, EINVAL, "the argument '%s' is not an integer", name);
    integer = json_integer_value(value);
    if (integer < least || integer > most)
        return vgpu_err_set(err, EINVAL, "%s %lld is out of range: %lld to %lld", name,
                            (long long)integer, (long long)least, (long long)most);
    *ret_integer = integer;
    return 0;
}

int args_number(const json_t *args, const char *name, bool required, double least, double most,
                double *ret_number, struct vgpu_err *err)
{
    const json_t *value = NULL;
    double number;
    int rc = find(args, name, required, &value, err);

    if (rc <= 0)
        return rc;
    if (!json_is_number(value))
        return vgpu_err_set(err, EINVAL, "the argument '%s' is not a number", name);
    number = json_number_value(value);
    if (!(number >= least && number <= most))
        return vgpu_err_set(err, EINVAL, "%s %.10g is out of range: %.1f to %.1f", name, number,
                            least, most);
    *ret_number = number;
    return 0;
}

int args_flag(const json_t *args, const char *name, bool *ret_flag, struct vgpu_err *err)
{
    const json_t *value = NULL;
    int rc = find(args, name, false, &value, err);

    if (rc <= 0)
        return rc;
    if (!json_is_boolean(value))
        return vgpu_err_set(err, EINVAL, "the argument '%s' is neither true nor false", name);
    *ret_flag = json_is_true(value);
    return 0;
}

int args_word(const json_t *args, const char *name, bool required, const char *const *words,
              const char **ret_word, struct vgpu_err *err)
{
    struct text_list list = {.used = 0};
    char shown[TEXT_SHOWN_BYTES];
    const char *text = NULL;
    const char *const *word;
    int rc = args_text(args, name, required, &text, err);

    if (rc < 0 || !text)
        return rc;
    word = find_word(words, text);
    if (word) {
        *ret_word = *word;
        return 0;
    }
    for (; *words; words++)
        text_list_add(&list, *words);
    return vgpu_err_set(err, EINVAL, "%s %s is not one of: %s", name, text_show(shown, text),
                        text_list_end(&list));
}
