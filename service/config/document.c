#include "config/document.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/alloc.h"
#include "base/fatal.h"
#include "config/values.h"

/* Most nesting: far more than the table has, and cheap to parse. */
#define DEPTH_MAX 32
#define ANCHORS_MAX 100

/* --- from nodes to settings --- */

typedef struct {
    yaml_document_t *document;
    bool *seen; /* by node: an alias leads to the same node again */
} tree_t;

static const yaml_node_t *node_of(const tree_t *tree, int id)
{
    return yaml_document_get_node(tree->document, id);
}

static unsigned line_of(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

static str_t text_of(const yaml_node_t *scalar)
{
    return (str_t){(const char *)scalar->data.scalar.value, scalar->data.scalar.length};
}

/* Marks the node. True if it was marked before: then an alias led here. */
static bool is_alias(tree_t *tree, int id)
{
    assert(id >= 1); /* libyaml counts the nodes of a document from 1 */
    bool before = tree->seen[id - 1];
    tree->seen[id - 1] = true;
    return before;
}

/* "key:", "key: ~" or "key: null" */
static bool is_nothing(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    str_t text = text_of(node);
    return text.n == 0 || str_eq(text, STR("~")) || str_eq(text, STR("null"));
}

static void read_setting(place_t *place, const yaml_node_t *node)
{
    char reason[REASON_SIZE], shown[QUOTE_SIZE];
    if (node->type != YAML_SCALAR_NODE) {
        report_value(place, "is a %s, and must be one value",
                     node->type == YAML_SEQUENCE_NODE ? "list" : "mapping");
        return;
    }
    str_t text = text_of(node);
    if (is_nothing(node)) {
        report_value(place, "has no value");
        return;
    }
    if (memchr(text.p, '\0', text.n) != NULL) {
        report_value(place, "holds a NUL character");
        return;
    }
    value_free(place->setting, place->data); /* a default, or a secret given both ways */
    if (value_read(place->setting, text.p, place->data, reason))
        return;
    bool secret = place->setting->type == SETTING_SECRET;
    report_value(place, "%s %s", secret ? "the secret" : quote_value(shown, text), reason);
}

static void read_mapping(tree_t *tree, place_t *place, const yaml_node_t *node);

static void read_list(tree_t *tree, place_t *list, const yaml_node_t *node)
{
    if (node->type != YAML_SEQUENCE_NODE) {
        report(list, "must be a list: lines below it that start with '- '");
        return;
    }
    const yaml_node_item_t *items = node->data.sequence.items.start;
    size_t count = (size_t)(node->data.sequence.items.top - items);
    if (count > list->section->count_max) {
        report(list, "has %zu elements; give at most %u", count, list->section->count_max);
        return;
    }
    place_open_list(list, count);
    for (size_t i = 0; i < count; ++i) {
        place_t *element = &list->below[i];
        element->line = line_of(node_of(tree, items[i]));
        if (is_alias(tree, items[i]))
            report(element, "is an alias; write it out");
        else
            read_mapping(tree, element, node_of(tree, items[i]));
    }
}

static void read_value(tree_t *tree, place_t *place, int id)
{
    const yaml_node_t *node = node_of(tree, id);
    if (is_alias(tree, id))
        report(place, "is an alias; write it out");
    else if (place->setting != NULL)
        read_setting(place, node);
    else if (is_nothing(node))
        return; /* a heading whose content is commented out */
    else if (place->section->list)
        read_list(tree, place, node);
    else
        read_mapping(tree, place, node);
}

static void read_pair(tree_t *tree, place_t *place, const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = node_of(tree, pair->key);
    unsigned line = line_of(key);
    if (key->type != YAML_SCALAR_NODE || is_alias(tree, pair->key)) {
        report_at(place, line, "%sa key must be a plain word",
                  place->above == NULL ? "top level: " : "");
        return;
    }
    place_t *below = place_below(place, text_of(key));
    if (below == NULL) {
        report_key(place, line, text_of(key));
    } else if (below->line != 0) {
        report_at(below, line, "is given twice; it stands on line %u already", below->line);
    } else {
        below->line = line;
        read_value(tree, below, pair->value);
    }
}

static void read_mapping(tree_t *tree, place_t *place, const yaml_node_t *node)
{
    if (node->type != YAML_MAPPING_NODE) {
        report(place, "must be a mapping: 'key: value' lines below it");
        return;
    }
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    for (; pair != node->data.mapping.pairs.top; ++pair)
        read_pair(tree, place, pair);
}

static bool read_document(yaml_document_t *document, place_t *root)
{
    const yaml_node_t *top = yaml_document_get_root_node(document);
    if (top == NULL || is_nothing(top)) {
        report_at(root, 0, "holds no settings");
        return false;
    }
    if (top->type != YAML_MAPPING_NODE) {
        report_at(root, line_of(top),
                  "is not a configuration: it must start with a section, as in 'http:'");
        return false;
    }
    size_t nodes = (size_t)(document->nodes.top - document->nodes.start);
    tree_t tree = {.document = document, .seen = alloc_zero(nodes, sizeof(*tree.seen))};
    tree.seen[0] = true; /* marks the top, because an alias could lead back to it */
    read_mapping(&tree, root, top);
    free(tree.seen);
    return true;
}

/* --- from bytes to nodes --- */

static void start_parser(yaml_parser_t *parser, str_t text)
{
    if (!yaml_parser_initialize(parser))
        FATAL("a YAML parser", ENOMEM);
    yaml_parser_set_input_string(parser, (const unsigned char *)text.p, text.n);
}

/* The change of depth by a token. */
static int depth_step(yaml_token_type_t type)
{
    switch (type) {
    case YAML_BLOCK_SEQUENCE_START_TOKEN:
    case YAML_BLOCK_MAPPING_START_TOKEN:
    case YAML_FLOW_SEQUENCE_START_TOKEN:
    case YAML_FLOW_MAPPING_START_TOKEN:
        return 1;
    case YAML_BLOCK_END_TOKEN:
    case YAML_FLOW_SEQUENCE_END_TOKEN:
    case YAML_FLOW_MAPPING_END_TOKEN:
        return -1;
    default:
        return 0;
    }
}

/* Limits nesting and anchors before the parse: libyaml's time grows with the square of both, to
   minutes for 1 MiB. */
static bool is_within_bounds(str_t text, const place_t *root)
{
    yaml_parser_t parser;
    yaml_token_t token;
    int depth = 0, anchors = 0;
    bool ended = false;
    start_parser(&parser, text);
    /* A syntax error ends the loop; the parser that loads the text reports it. */
    while (!ended && depth <= DEPTH_MAX && anchors <= ANCHORS_MAX &&
           yaml_parser_scan(&parser, &token)) {
        int step = depth_step(token.type);
        depth += depth == 0 && step < 0 ? 0 : step; /* a surplus bracket: not YAML */
        anchors += token.type == YAML_ANCHOR_TOKEN;
        ended = token.type == YAML_STREAM_END_TOKEN;
        if (depth > DEPTH_MAX)
            report_at(root, (unsigned)token.start_mark.line + 1, "is nested more than %d deep",
                      DEPTH_MAX);
        else if (anchors > ANCHORS_MAX)
            report_at(root, (unsigned)token.start_mark.line + 1, "has more than %d anchors",
                      ANCHORS_MAX);
        yaml_token_delete(&token);
    }
    yaml_parser_delete(&parser);
    return depth <= DEPTH_MAX && anchors <= ANCHORS_MAX;
}

/* A reader error has no mark, only the offset of the byte. */
static void report_syntax(const yaml_parser_t *parser, str_t text, const place_t *root)
{
    unsigned line = (unsigned)parser->problem_mark.line + 1;
    if (parser->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < parser->problem_offset && i < text.n; ++i)
            line += text.p[i] == '\n';
    }
    report_at(root, line, "is not YAML: %s%s%s",
              parser->problem == NULL ? "unreadable" : parser->problem,
              parser->context == NULL ? "" : " ", parser->context == NULL ? "" : parser->context);
}

/* A file must contain exactly one document. */
static void check_end(yaml_parser_t *parser, str_t text, const place_t *root)
{
    yaml_document_t second;
    if (!yaml_parser_load(parser, &second)) {
        report_syntax(parser, text, root);
        return;
    }
    const yaml_node_t *more = yaml_document_get_root_node(&second);
    if (more != NULL)
        report_at(root, line_of(more), "a second document starts here; one file is one document");
    yaml_document_delete(&second);
}

bool document_read(str_t text, place_t *root)
{
    yaml_parser_t parser;
    yaml_document_t document;
    bool read = false;
    if (!is_within_bounds(text, root))
        return false;
    start_parser(&parser, text);
    if (yaml_parser_load(&parser, &document)) {
        read = read_document(&document, root);
        yaml_document_delete(&document);
        check_end(&parser, text, root);
    } else {
        report_syntax(&parser, text, root);
    }
    yaml_parser_delete(&parser);
    return read;
}
