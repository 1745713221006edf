#include "config/document.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* Far beyond what the schema has, and far below what hurts. */
#define DEPTH_MAX 32
#define ANCHORS_MAX 100

typedef struct {
    yaml_document_t *document;
    complaints_t *complaints;
    bool *seen; /* by node: an alias is the same node a second time */
    int seen_count;
} walk_t;

static yaml_node_t *node_of(const walk_t *walk, int id)
{
    return yaml_document_get_node(walk->document, id);
}

static unsigned line_of(const walk_t *walk, int id)
{
    return (unsigned)node_of(walk, id)->start_mark.line + 1;
}

/* Marks the node. True if it was met before: then an alias led here. */
static bool is_alias(walk_t *walk, int id)
{
    assert(id >= 1 && id <= walk->seen_count);
    bool before = walk->seen[id - 1];
    walk->seen[id - 1] = true;
    return before;
}

/* "key:", "key: ~" or "key: null" */
static bool is_nothing(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    const char *text = (const char *)node->data.scalar.value;
    return strcmp(text, "") == 0 || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

/* All check_*() functions: true if what stands at `path` may go on to libcyaml. */

static bool check_setting(walk_t *walk, const setting_t *setting, int id, const char *path)
{
    const yaml_node_t *node = node_of(walk, id);
    if (node->type == YAML_SEQUENCE_NODE)
        complain_value(walk->complaints, path, setting, "is a list, and must be one value");
    else if (node->type == YAML_MAPPING_NODE)
        complain_value(walk->complaints, path, setting, "is a mapping, and must be one value");
    else if (is_nothing(node))
        complain_value(walk->complaints, path, setting, "has no value");
    else if (memchr(node->data.scalar.value, '\0', node->data.scalar.length) != NULL)
        complain_value(walk->complaints, path, setting, "holds a NUL character");
    else
        return true;
    return false;
}

static bool check_mapping(walk_t *walk, const section_t *section, int id, const char *path);

/* An element that is none leaves an empty mapping, so that the others keep their numbers. */
static void check_element(walk_t *walk, const section_t *section, yaml_node_item_t *item,
                          const char *path)
{
    place_add(walk->complaints, path, line_of(walk, *item));
    bool alias = is_alias(walk, *item);
    if (alias)
        complain(walk->complaints, path, "is an alias; write it out");
    if (!alias && check_mapping(walk, section, *item, path))
        return;
    ptrdiff_t empty = yaml_document_add_mapping(walk->document, NULL, YAML_BLOCK_MAPPING_STYLE);
    if (empty == 0)
        abort();
    *item = (yaml_node_item_t)empty;
}

static bool check_list(walk_t *walk, const section_t *section, int id, const char *path)
{
    if (node_of(walk, id)->type != YAML_SEQUENCE_NODE) {
        complain(walk->complaints, path, "must be a list: lines below it that start with '- '");
        return false;
    }
    /* The nodes may move when one is added; the items of a list and the pairs of a mapping do
       not. */
    yaml_node_item_t *items = node_of(walk, id)->data.sequence.items.start;
    ptrdiff_t count = node_of(walk, id)->data.sequence.items.top - items;
    if (count > section->count_max) {
        complain(walk->complaints, path, "has %td elements; give at most %u", count,
                 section->count_max);
        return false;
    }
    for (ptrdiff_t i = 0; i < count; i++) {
        char element[PATH_SIZE];
        path_of_element(element, path, (size_t)i);
        check_element(walk, section, &items[i], element);
    }
    return true;
}

static void complain_unknown(walk_t *walk, const section_t *section, const yaml_node_t *key,
                             const char *path)
{
    char shown[QUOTE_SIZE];
    quote_value(shown, (const char *)key->data.scalar.value, key->data.scalar.length);
    FILE *out = complaint_start(walk->complaints, (unsigned)key->start_mark.line + 1);
    if (*path == '\0')
        fprintf(out, "%s is no section; there are ", shown);
    else
        fprintf(out, "%s: %s is no setting; there are ", path, shown);
    section_print_keys(section, out);
    complaint_end(walk->complaints);
}

/* The value of a key that the schema knows. */
static bool check_value(walk_t *walk, const section_t *section, const char *key, int id,
                        const char *path)
{
    if (is_alias(walk, id)) {
        complain(walk->complaints, path, "is an alias; write it out");
        return false;
    }
    const setting_t *setting = section_setting(section, key, strlen(key));
    if (setting != NULL)
        return check_setting(walk, setting, id, path);
    if (is_nothing(node_of(walk, id)))
        return false; /* a heading with everything below it commented out */
    const section_t *child = section_child(section, key, strlen(key));
    return child->list ? check_list(walk, child, id, path) : check_mapping(walk, child, id, path);
}

static bool check_pair(walk_t *walk, const section_t *section, yaml_node_pair_t pair,
                       const char *path)
{
    const yaml_node_t *key = node_of(walk, pair.key);
    unsigned line = line_of(walk, pair.key);
    if (key->type != YAML_SCALAR_NODE || is_alias(walk, pair.key)) {
        complain_at(walk->complaints, line, "%s%s: a key must be a plain word",
                    *path == '\0' ? "top level" : "", path);
        return false;
    }
    const char *text = (const char *)key->data.scalar.value;
    size_t n = key->data.scalar.length;
    if (section_setting(section, text, n) == NULL && section_child(section, text, n) == NULL) {
        complain_unknown(walk, section, key, path);
        return false;
    }
    char below[PATH_SIZE];
    path_of_key(below, path, text);
    unsigned first = place_add(walk->complaints, below, line);
    if (first != 0) {
        complain_at(walk->complaints, line, "%s: is given twice; it stands on line %u already",
                    below, first);
        return false;
    }
    return check_value(walk, section, text, pair.value, below);
}

static bool check_mapping(walk_t *walk, const section_t *section, int id, const char *path)
{
    if (node_of(walk, id)->type != YAML_MAPPING_NODE) {
        complain(walk->complaints, path, "must be a mapping: 'key: value' lines below it");
        return false;
    }
    yaml_node_pair_t *pairs = node_of(walk, id)->data.mapping.pairs.start;
    ptrdiff_t count = node_of(walk, id)->data.mapping.pairs.top - pairs, kept = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        if (check_pair(walk, section, pairs[i], path))
            pairs[kept++] = pairs[i];
    }
    node_of(walk, id)->data.mapping.pairs.top = pairs + kept;
    return true;
}

static int write_to_file(void *file, unsigned char *bytes, size_t n)
{
    return fwrite(bytes, 1, n, file) == n;
}

/* Writes the document out, and frees it. */
static char *dump(yaml_document_t *document, complaints_t *complaints, size_t *n)
{
    char *text = NULL;
    FILE *file = open_memstream(&text, n);
    yaml_emitter_t emitter;
    if (file == NULL || !yaml_emitter_initialize(&emitter))
        abort();
    yaml_emitter_set_output(&emitter, write_to_file, file);
    yaml_emitter_set_width(&emitter, -1);
    yaml_emitter_set_unicode(&emitter, 1);
    bool written = yaml_emitter_dump(&emitter, document) && yaml_emitter_close(&emitter);
    if (!written)
        complain_at(complaints, 0, "is not YAML: %s",
                    emitter.problem == NULL ? "unreadable" : emitter.problem);
    yaml_emitter_delete(&emitter);
    fclose(file);
    if (written)
        return text;
    free(text);
    return NULL;
}

static char *clean(yaml_document_t *document, const section_t *root, complaints_t *complaints,
                   size_t *clean_n)
{
    const yaml_node_t *top = yaml_document_get_root_node(document);
    if (top == NULL || is_nothing(top)) {
        complain_at(complaints, 0, "holds no settings");
    } else if (top->type != YAML_MAPPING_NODE) {
        complain_at(complaints, (unsigned)top->start_mark.line + 1,
                    "is not a configuration: it must start with a section, as in 'http:'");
    } else {
        walk_t walk = {.document = document, .complaints = complaints};
        walk.seen_count = (int)(document->nodes.top - document->nodes.start);
        walk.seen = calloc((size_t)walk.seen_count, sizeof(*walk.seen));
        if (walk.seen == NULL)
            abort();
        walk.seen[0] = true; /* the root, which an alias could name */
        check_mapping(&walk, root, 1, "");
        free(walk.seen);
        return dump(document, complaints, clean_n);
    }
    yaml_document_delete(document);
    return NULL;
}

/* A reader's error has no mark, but the number of the byte. */
static void complain_of_syntax(const yaml_parser_t *parser, const char *text, size_t n,
                               complaints_t *complaints)
{
    unsigned line = (unsigned)parser->problem_mark.line + 1;
    if (parser->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < parser->problem_offset && i < n; i++)
            line += text[i] == '\n';
    }
    complain_at(complaints, line, "is not YAML: %s%s%s",
                parser->problem == NULL ? "unreadable" : parser->problem,
                parser->context == NULL ? "" : " ", parser->context == NULL ? "" : parser->context);
}

/* The anchor that an event sets, or NULL. */
static const yaml_char_t *anchor_of(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor;
    default:
        return NULL;
    }
}

typedef struct {
    int depth, anchors;
} extent_t;

/* Adds an event. True as long as it is a document to be loaded without fear. */
static bool extent_add(extent_t *extent, const yaml_event_t *event, complaints_t *complaints)
{
    unsigned line = (unsigned)event->start_mark.line + 1;
    if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT)
        extent->depth++;
    if (event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT)
        extent->depth--;
    extent->anchors += anchor_of(event) != NULL;
    if (extent->depth > DEPTH_MAX)
        complain_at(complaints, line, "is nested more than %d deep", DEPTH_MAX);
    else if (extent->anchors > ANCHORS_MAX)
        complain_at(complaints, line, "has more than %d anchors", ANCHORS_MAX);
    else
        return true;
    return false;
}

/* libyaml takes time by the square of the nesting and of the anchors: minutes for a mebibyte. */
static bool is_tame(const char *text, size_t n, complaints_t *complaints)
{
    yaml_parser_t parser;
    yaml_event_t event;
    extent_t extent = {0};
    bool tame = true, ended = false;
    if (!yaml_parser_initialize(&parser))
        abort();
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
    /* What is no YAML is named by the one who loads it. */
    while (tame && !ended && yaml_parser_parse(&parser, &event)) {
        tame = extent_add(&extent, &event, complaints);
        ended = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return tame;
}

/* One file is one document. */
static void check_end(yaml_parser_t *parser, const char *text, size_t n, complaints_t *complaints)
{
    yaml_document_t second;
    if (!yaml_parser_load(parser, &second)) {
        complain_of_syntax(parser, text, n, complaints);
        return;
    }
    const yaml_node_t *more = yaml_document_get_root_node(&second);
    if (more != NULL)
        complain_at(complaints, (unsigned)more->start_mark.line + 1,
                    "a second document starts here; one file is one document");
    yaml_document_delete(&second);
}

char *document_clean(const char *text, size_t n, const section_t *root, complaints_t *complaints,
                     size_t *clean_n)
{
    yaml_parser_t parser;
    yaml_document_t document;
    char *result = NULL;
    if (!is_tame(text, n, complaints))
        return NULL;
    if (!yaml_parser_initialize(&parser))
        abort();
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
    if (!yaml_parser_load(&parser, &document)) {
        complain_of_syntax(&parser, text, n, complaints);
    } else {
        result = clean(&document, root, complaints, clean_n);
        check_end(&parser, text, n, complaints);
    }
    yaml_parser_delete(&parser);
    return result;
}
