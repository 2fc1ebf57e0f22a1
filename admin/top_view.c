/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/top_view.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "admin/show.h"
#include "admin/top_cell.h"
#include "common/cleanup.h"

#define INTERVAL_LEAST_S 0.1
#define INTERVAL_MOST_S  3600.0
#define LEAST_ROWS       3 /* of the section in focus, as long as there is room */

static const char *const section_keys[TOP_SECTIONS] = {"gpus", "pools", "vms"};
static const char *const section_names[TOP_SECTIONS] = {"GPUs", "pools", "VMs"};

static const struct top_style plain = {.colour = COLOUR_PLAIN};
static const struct top_style bold = {.bold = true};
static const struct top_style reverse = {.reverse = true};
static const struct top_style alarm_style = {.colour = COLOUR_BAD, .bold = true};

static size_t find_column(enum top_section_id id, const char *title)
{
    size_t i = 0;

    while (top_columns[id][i].title && strcasecmp(top_columns[id][i].title, title) != 0)
        i++;
    return i;
}

void top_view_init(struct top_view *view)
{
    *view = (struct top_view){.focus = TOP_VMS, .width = 80, .interval_s = 1};
    view->sections[TOP_GPUS].ascending = true;
    view->sections[TOP_POOLS].ascending = true;
    view->sections[TOP_VMS].sort = find_column(TOP_VMS, "SHARE/DUE%");
}

int top_view_sort(struct top_view *view, const char *title, struct vgpu_err *err)
{
    struct top_section *vms = &view->sections[TOP_VMS];
    bool turned = title[0] == '-';
    size_t found = find_column(TOP_VMS, title + turned);

    if (!top_columns[TOP_VMS][found].title)
        return vgpu_err_set(err, EINVAL,
                            "there is no column '%s' of VMs; 'vgpu-admin top' shows "
                            "their titles",
                            title + turned);
    vms->sort = found;
    vms->ascending = top_column_is_text(&top_columns[TOP_VMS][found]) != turned;
    return 0;
}

/* Rows */

struct order {
    const struct top_column *column;
    bool ascending;
    const char *id_key;
};

static int compare_values(const json_t *a, const json_t *b)
{
    double difference;

    if (json_is_string(a) && json_is_string(b))
        return strcasecmp(json_string_value(a), json_string_value(b));
    if (json_is_array(a) && json_is_array(b))
        return compare_values(json_array_get(a, 0), json_array_get(b, 0));
    difference = json_number_value(a) - json_number_value(b);
    return (difference > 0) - (difference < 0);
}

static bool unknown(const json_t *value)
{
    return !value || json_is_null(value) || (json_is_array(value) && !json_array_size(value));
}

/* What is not known comes last in either direction; what is equal, in the order of the model. */
static int compare_rows(const void *a, const void *b, void *context)
{
    const struct order *order = context;
    const json_t *left = json_object_get(*(json_t *const *)a, order->column->key);
    const json_t *right = json_object_get(*(json_t *const *)b, order->column->key);
    int by_value;

    if (unknown(left) || unknown(right))
        by_value = unknown(left) - unknown(right);
    else
        by_value = compare_values(left, right) * (order->ascending ? 1 : -1);
    if (by_value != 0)
        return by_value;
    return compare_values(json_object_get(*(json_t *const *)a, order->id_key),
                          json_object_get(*(json_t *const *)b, order->id_key));
}

static bool matches_word(const json_t *row, const char *word)
{
    static const char *const keys[] = {"vm_id",    "name",  "uuid",  "pool",   "pools",
                                       "priority", "state", "model", "gpu_id", "policy"};
    char text[TABLE_CELL_BYTES];

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(keys); i++) {
        const json_t *value = json_object_get(row, keys[i]);

        if (unknown(value))
            continue;
        table_format_json(value, text, sizeof(text));
        if (strcasestr(text, word))
            return true;
    }
    return false;
}

/* Each word of the filter must be somewhere in the row. */
static bool matches(const json_t *row, const char *filter)
{
    char words[TOP_FILTER_BYTES], *rest = NULL;

    snprintf(words, sizeof(words), "%s", filter);
    for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        if (!matches_word(row, word))
            return false;
    return true;
}

/* Those that match, in order; *ret_rows is for free(). */
static size_t pick_rows(const struct top_view *view, enum top_section_id id, const json_t *model,
                        const json_t ***ret_rows)
{
    const struct top_section *section = &view->sections[id];
    const json_t *all = json_object_get(model, section_keys[id]), *row;
    const json_t **rows = calloc(json_array_size(all) + 1, sizeof(*rows));
    struct order order = {.column = &top_columns[id][section->sort],
                          .ascending = section->ascending,
                          .id_key = top_columns[id][0].key};
    size_t i, n = 0;

    *ret_rows = rows;
    if (!rows)
        return 0;
    json_array_foreach (all, i, row)
        if (matches(row, section->filter))
            rows[n++] = row;
    qsort_r(rows, n, sizeof(*rows), compare_rows, &order);
    return n;
}

/* Columns */

/* Those that are shown, left to right, and how wide. */
struct layout {
    const struct top_column *columns[TOP_COLUMNS_MAX];
    size_t indices[TOP_COLUMNS_MAX], widths[TOP_COLUMNS_MAX], n;
};

static size_t total_width(const struct layout *layout)
{
    size_t total = 0;

    for (size_t i = 0; i < layout->n; i++)
        total += layout->widths[i] + (i ? 1 : 0);
    return total;
}

static void add_column(struct layout *layout, enum top_section_id id, size_t i, size_t most)
{
    const struct top_column *column = &top_columns[id][i];

    layout->columns[layout->n] = column;
    layout->indices[layout->n] = i;
    layout->widths[layout->n++] = column->least < most ? column->least : most;
}

static void drop_column(struct layout *layout, size_t at)
{
    layout->n--;
    for (size_t i = at; i < layout->n; i++) {
        layout->columns[i] = layout->columns[i + 1];
        layout->indices[i] = layout->indices[i + 1];
        layout->widths[i] = layout->widths[i + 1];
    }
}

/* The one that the view can do without first. */
static size_t least_of(const struct layout *layout, enum top_set set)
{
    size_t least = 0;

    for (size_t i = 1; i < layout->n; i++)
        if (layout->columns[i]->ranks[set] < layout->columns[least]->ranks[set])
            least = i;
    return least;
}

/* Columns that the cells of the rows need. */
static size_t needed_width(const struct top_column *column, const json_t **rows, size_t n)
{
    size_t most = column->least;
    char text[TABLE_CELL_BYTES];

    if (column->kind == TOP_SHARE || column->kind == TOP_PERCENT)
        return column->most;
    for (size_t i = 0; i < n && most < column->most; i++) {
        size_t columns;

        top_cell(column, rows[i], column->most, false, text);
        columns = table_columns(text);
        if (columns > most)
            most = columns;
    }
    return most < column->most ? most : column->most;
}

static void lay_out(const struct top_view *view, enum top_section_id id, const json_t **rows,
                    size_t n_rows, struct layout *layout)
{
    size_t width = view->width, free_columns;

    layout->n = 0;
    for (size_t i = 0; top_columns[id][i].title && layout->n < TOP_COLUMNS_MAX; i++)
        add_column(layout, id, i, width);
    while (layout->n > 1 && total_width(layout) > width)
        drop_column(layout, least_of(layout, view->set));
    free_columns = width > total_width(layout) ? width - total_width(layout) : 0;
    for (size_t i = 0; i < layout->n && free_columns > 0; i++) {
        size_t more = needed_width(layout->columns[i], rows, n_rows) - layout->columns[i]->least;

        more = more < free_columns ? more : free_columns;
        layout->widths[i] += more;
        free_columns -= more;
    }
}

/* Drawing */

static void draw_titles(const struct top_view *view, enum top_section_id id,
                        const struct layout *layout, struct top_canvas *canvas)
{
    struct top_line *line = top_canvas_line(canvas);
    bool in_focus = view->height > 0 && view->focus == id;
    char text[TABLE_FIT_BYTES];

    for (size_t i = 0; i < layout->n; i++) {
        const struct top_column *column = layout->columns[i];
        bool sorts = layout->indices[i] == view->sections[id].sort;
        struct top_style style = {.bold = true, .reverse = in_focus && sorts};

        table_fit(column->title, layout->widths[i], top_column_is_right(column), text,
                  sizeof(text));
        top_canvas_put(canvas, line, plain, "%s", i ? " " : "");
        top_canvas_put(canvas, line, style, "%s", text);
    }
}

static void draw_row(const struct top_view *view, const struct layout *layout, const json_t *row,
                     struct top_canvas *canvas)
{
    struct top_line *line = top_canvas_line(canvas);
    char cell[TABLE_CELL_BYTES], text[TABLE_FIT_BYTES];

    for (size_t i = 0; i < layout->n; i++) {
        const struct top_column *column = layout->columns[i];
        struct top_style style = {.colour =
                                      top_cell(column, row, layout->widths[i], view->ascii, cell)};

        table_fit(cell, layout->widths[i], top_column_is_right(column), text, sizeof(text));
        top_canvas_put(canvas, line, plain, "%s", i ? " " : "");
        top_canvas_put(canvas, line, style, "%s", text);
    }
}

/* At most so many rows, from where the section is scrolled to. */
static void draw_section(struct top_view *view, enum top_section_id id, const json_t **rows,
                         size_t room, struct top_canvas *canvas)
{
    struct top_section *section = &view->sections[id];
    size_t n = section->matching;
    struct layout layout = {.n = 0};

    section->shown = room < n ? room : n;
    if (section->scroll > n - section->shown)
        section->scroll = n - section->shown;
    lay_out(view, id, rows, n, &layout);
    if (view->height == 0 && canvas->n_lines > 0)
        top_canvas_line(canvas);
    draw_titles(view, id, &layout, canvas);
    for (size_t i = 0; i < section->shown; i++)
        draw_row(view, &layout, rows[section->scroll + i], canvas);
}

/* The rows that each section gets of those that there are; the one in focus comes first. */
static void divide_rows(const struct top_view *view, size_t room, size_t rooms[TOP_SECTIONS])
{
    size_t wish[TOP_SECTIONS], rest = room;

    for (int id = 0; id < TOP_SECTIONS; id++) {
        size_t part = room / 4;

        wish[id] = view->sections[id].matching;
        rooms[id] = 0;
        if ((enum top_section_id)id != view->focus && wish[id] > part)
            wish[id] = part;
    }
    rooms[view->focus] = wish[view->focus] < LEAST_ROWS ? wish[view->focus] : LEAST_ROWS;
    rooms[view->focus] = rooms[view->focus] < rest ? rooms[view->focus] : rest;
    rest -= rooms[view->focus];
    for (int id = 0; id < TOP_SECTIONS; id++) {
        size_t more = wish[id] - rooms[id];

        if ((enum top_section_id)id == view->focus)
            continue;
        rooms[id] += more < rest ? more : rest;
        rest -= more < rest ? more : rest;
    }
    for (int i = 0; i < TOP_SECTIONS; i++) {
        int id = i == 0 ? (int)view->focus : i <= (int)view->focus ? i - 1 : i;
        size_t more = view->sections[id].matching - rooms[id];

        rooms[id] += more < rest ? more : rest;
        rest -= more < rest ? more : rest;
    }
}

static void draw_head(const struct top_view *view, const json_t *model, struct top_canvas *canvas)
{
    struct top_line *line = top_canvas_line(canvas);
    const json_t *mediator = json_object_get(model, "mediator");
    const char *driver = json_string_value(json_object_get(mediator, "driver"));
    double up = json_number_value(json_object_get(mediator, "uptime_s"));
    char text[TOP_WIDTH_MAX], fitted[TOP_LINE_BYTES], version[SHOW_BYTES];

    if (json_is_object(mediator))
        snprintf(text, sizeof(text),
                 "vgpu top: mediator %s, up %.0f h %02.0f min%s%s, %lld channels, %lld workers",
                 show_member(mediator, "version", version), floor(up / 3600),
                 floor(fmod(up, 3600) / 60), driver ? ", " : "", driver ? driver : "",
                 (long long)json_integer_value(json_object_get(mediator, "channels")),
                 (long long)json_integer_value(json_object_get(mediator, "workers")));
    else
        snprintf(text, sizeof(text), "vgpu top: %s",
                 model ? "no mediator runs: the configuration only" : "nothing is known yet");
    table_clean(text);
    table_fit(text, view->width, false, fitted, sizeof(fitted));
    top_canvas_put(canvas, line, bold, "%s", fitted);
    if (!view->note)
        return;
    table_fit(view->note, view->width, false, fitted, sizeof(fitted));
    top_canvas_put(canvas, top_canvas_line(canvas), alarm_style, "%s", fitted);
}

/* What the keys do, and what they have done. */
static void draw_foot(const struct top_view *view, struct top_canvas *canvas)
{
    const struct top_section *section = &view->sections[view->focus];
    struct top_line *line = top_canvas_line(canvas);
    char text[TOP_LINE_BYTES], fitted[TOP_LINE_BYTES], rows[64], filter[TOP_FILTER_BYTES + 16] = "";

    snprintf(rows, sizeof(rows), "%s %zu-%zu/%zu", section_names[view->focus],
             section->matching ? section->scroll + 1 : 0, section->scroll + section->shown,
             section->matching);
    if (section->filter[0])
        snprintf(filter, sizeof(filter), " (%s)", section->filter);
    if (view->typing)
        snprintf(text, sizeof(text), "filter %s: %s_   Enter keep, Esc all",
                 section_names[view->focus], section->filter);
    else
        snprintf(text, sizeof(text), "%s%s%s by %s%s | q quit  ? help  / filter  <> sort  Tab  1-3",
                 view->paused ? "PAUSED " : "", rows, filter,
                 top_columns[view->focus][section->sort].title, section->ascending ? "" : " down");
    table_clean(text);
    table_fit(text, view->width, false, fitted, sizeof(fitted));
    top_canvas_put(canvas, line, reverse, "%s", fitted);
}

static const char *const help_lines[] = {
    "q, Ctrl-C   quit",
    "?, h        this page; any key goes back",
    "Tab         next section: GPUs, pools, VMs; the keys below are for it",
    "Up, Down, PgUp, PgDn, Home, End   scroll",
    "/           filter: type words that must be in a row; Enter keeps it, Esc ends it",
    "<, >        sort by the next column (Left and Right too)",
    "r           sort the other way round",
    "1, 2, 3     which columns come first: overview, latency, limits",
    "Space       pause",
    "-, +        look twice, or half, as often",
    "",
};

static void draw_help_line(const struct top_view *view, struct top_canvas *canvas, const char *text)
{
    char fitted[TOP_LINE_BYTES];

    table_fit(text, view->width, false, fitted, sizeof(fitted));
    top_canvas_put(canvas, top_canvas_line(canvas), plain, "%s", fitted);
}

static void draw_help(const struct top_view *view, struct top_canvas *canvas)
{
    char text[160];

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(help_lines); i++)
        draw_help_line(view, canvas, help_lines[i]);
    for (const struct top_column *column = top_columns[TOP_VMS]; column->title; column++) {
        if (!column->help)
            continue;
        snprintf(text, sizeof(text), "%-11s %s", column->title, column->help);
        draw_help_line(view, canvas, text);
    }
}

void top_view_draw(struct top_view *view, const json_t *model, struct top_canvas *canvas)
{
    const json_t **rows[TOP_SECTIONS];
    size_t rooms[TOP_SECTIONS], fixed;

    if (view->width > TOP_WIDTH_MAX)
        view->width = TOP_WIDTH_MAX;
    draw_head(view, model, canvas);
    if (view->help) {
        draw_help(view, canvas);
        return;
    }
    for (int id = 0; id < TOP_SECTIONS; id++) {
        view->sections[id].matching = pick_rows(view, (enum top_section_id)id, model, &rows[id]);
        rooms[id] = view->sections[id].matching;
    }
    fixed = canvas->n_lines + TOP_SECTIONS + 1;
    if (view->height > 0)
        divide_rows(view, view->height > fixed ? view->height - fixed : 0, rooms);
    for (int id = 0; id < TOP_SECTIONS; id++) {
        draw_section(view, (enum top_section_id)id, rows[id], rooms[id], canvas);
        free(rows[id]);
    }
    if (view->height == 0)
        return;
    while (canvas->n_lines + 1 < view->height && top_canvas_line(canvas))
        continue;
    draw_foot(view, canvas);
}

/* Keys */

static void type_character(struct top_section *section, unsigned point)
{
    size_t used = strlen(section->filter), length;
    char bytes[4];

    if (point < 0x80) {
        bytes[0] = (char)point;
        length = 1;
    } else if (point < 0x800) {
        bytes[0] = (char)(0xc0 | point >> 6);
        bytes[1] = (char)(0x80 | (point & 0x3f));
        length = 2;
    } else if (point < 0x10000) {
        bytes[0] = (char)(0xe0 | point >> 12);
        bytes[1] = (char)(0x80 | (point >> 6 & 0x3f));
        bytes[2] = (char)(0x80 | (point & 0x3f));
        length = 3;
    } else {
        bytes[0] = (char)(0xf0 | point >> 18);
        bytes[1] = (char)(0x80 | (point >> 12 & 0x3f));
        bytes[2] = (char)(0x80 | (point >> 6 & 0x3f));
        bytes[3] = (char)(0x80 | (point & 0x3f));
        length = 4;
    }
    if (used + length >= sizeof(section->filter))
        return;
    memcpy(section->filter + used, bytes, length);
    section->filter[used + length] = '\0';
}

static void rub_out(struct top_section *section)
{
    size_t used = strlen(section->filter);

    while (used > 0 && ((unsigned char)section->filter[used - 1] & 0xc0) == 0x80)
        used--;
    section->filter[used > 0 ? used - 1 : 0] = '\0';
}

/* While a filter is typed; what is shown follows at once. */
static void type_key(struct top_view *view, unsigned key)
{
    struct top_section *section = &view->sections[view->focus];

    section->scroll = 0;
    if (key == '\r' || key == '\n')
        view->typing = false;
    else if (key == 033) {
        section->filter[0] = '\0';
        view->typing = false;
    } else if (key == TOP_KEY_BACKSPACE || key == 0x7f || key == '\b')
        rub_out(section);
    else if (key >= 0x20 && key < 0x110000 && !(key >= 0x7f && key < 0xa0))
        type_character(section, key);
}

static void move_sort(struct top_view *view, bool right)
{
    struct top_section *section = &view->sections[view->focus];
    const struct top_column *columns = top_columns[view->focus];
    size_t n = 0;

    while (columns[n].title)
        n++;
    section->sort = (section->sort + (right ? 1 : n - 1)) % n;
    section->ascending = top_column_is_text(&columns[section->sort]) || section->sort == 0;
}

static void scroll(struct top_section *section, unsigned key)
{
    size_t most = section->matching - section->shown, page = section->shown ? section->shown : 1;

    if (key == TOP_KEY_UP)
        section->scroll -= section->scroll > 0;
    else if (key == TOP_KEY_DOWN)
        section->scroll += section->scroll < most;
    else if (key == TOP_KEY_PAGE_UP)
        section->scroll -= section->scroll < page ? section->scroll : page;
    else if (key == TOP_KEY_PAGE_DOWN)
        section->scroll += most - section->scroll < page ? most - section->scroll : page;
    else
        section->scroll = key == TOP_KEY_END ? most : 0;
}

static void change_interval(struct top_view *view, double factor)
{
    view->interval_s = fmin(fmax(view->interval_s * factor, INTERVAL_LEAST_S), INTERVAL_MOST_S);
}

static void command_key(struct top_view *view, unsigned key)
{
    struct top_section *section = &view->sections[view->focus];

    switch (key) {
    case 'q':
    case 'Q':
        view->quit = true;
        break;
    case '?':
    case 'h':
        view->help = true;
        break;
    case '/':
        view->typing = true;
        break;
    case 033:
        section->filter[0] = '\0';
        break;
    case '<':
    case TOP_KEY_LEFT:
    case '>':
    case TOP_KEY_RIGHT:
        move_sort(view, key == '>' || key == TOP_KEY_RIGHT);
        break;
    case 'r':
        section->ascending = !section->ascending;
        break;
    case '1':
    case '2':
    case '3':
        view->set = (enum top_set)(key - '1');
        break;
    case ' ':
        view->paused = !view->paused;
        break;
    case '-':
        change_interval(view, 0.5);
        break;
    case '+':
        change_interval(view, 2);
        break;
    case '\t':
        view->focus = (view->focus + 1) % TOP_SECTIONS;
        break;
    case TOP_KEY_TAB_BACK:
        view->focus = (view->focus + TOP_SECTIONS - 1) % TOP_SECTIONS;
        break;
    default:
        if (key >= TOP_KEY_UP && key <= TOP_KEY_END)
            scroll(section, key);
    }
}

void top_view_key(struct top_view *view, unsigned key)
{
    if (key == TOP_KEY_NONE)
        return;
    if (view->help)
        view->help = false;
    else if (view->typing)
        type_key(view, key);
    else
        command_key(view, key);
}
