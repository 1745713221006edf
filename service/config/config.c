#include "config/config.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "config/check.h"
#include "config/document.h"
#include "config/values.h"

#define FILE_BYTES_MAX (1 << 20)

/* --- computed defaults --- */

static void default_node_name(config_t *config, const place_t *root)
{
    place_t *name = place_below(place_below(root, STR("node")), STR("name"));
    char host[256] = "", reason[REASON_SIZE];
    if (name->line != 0 || !place_is_known(name))
        return;
    gethostname(host, sizeof(host) - 1);
    if (!value_read(name->setting, host, &config->node.name, reason))
        report_value(name, "is missing, and the host's name %s", reason);
}

static void default_modes(const place_t *shards)
{
    for (size_t i = 0; i < shards->below_count; ++i) {
        const place_t *servers = place_below(&shards->below[i], STR("servers"));
        for (size_t j = 0; j < servers->below_count; ++j) {
            config_server_t *server = servers->below[j].data;
            if (place_below(&servers->below[j], STR("mode"))->line == 0)
                server->mode =
                    server->status == SERVER_PRIMARY ? SERVER_READ_WRITE : SERVER_READ_ONLY;
        }
    }
}

/* --- the configuration --- */

static void free_section(const section_t *section, void *base)
{
    for (size_t i = 0; i < section->settings_count; ++i)
        value_free(&section->settings[i], (char *)base + section->settings[i].offset);
    for (size_t i = 0; i < section->children_count; ++i) {
        const section_t *child = &section->children[i];
        if (!child->list) {
            free_section(child, base);
            continue;
        }
        char *elements = *(char **)((char *)base + child->elements_offset);
        unsigned count = *(unsigned *)((char *)base + child->count_offset);
        for (unsigned k = 0; k < count; ++k)
            free_section(child, elements + k * child->element_size);
        free(elements);
    }
}

void config_free(config_t *config)
{
    if (config == NULL)
        return;
    free_section(&config_root, config);
    deployment_free(config->deployment);
    free(config);
}

/* Fills `config` from the text, and reports all mistakes. */
static void read_text(str_t text, config_t *config, diagnostics_t *diagnostics)
{
    place_t root = {.diagnostics = diagnostics, .section = &config_root, .data = config};
    place_open(&root);
    if (document_read(text, &root)) {
        default_node_name(config, &root);
        default_modes(place_below(&root, STR("shards")));
        check_config(&root);
        config->deployment = deployment_new(config->node.deployment);
    }
    place_close(&root);
}

int config_load(const char *path, config_t **out, FILE *diagnostics_out)
{
    diagnostics_t diagnostics = {.file = path};
    const place_t file = {.diagnostics = &diagnostics};
    char reason[REASON_SIZE];
    str_t text;
    config_t *config = alloc_zero(1, sizeof(*config));
    char *content = file_read(path, 0, FILE_BYTES_MAX, &text.n, reason);
    text.p = content;
    if (content == NULL)
        report_at(&file, 0, "%s", reason);
    else if (memchr(content, '\0', text.n) != NULL)
        report_at(&file, 0, "holds NUL bytes, and so is not YAML");
    else
        read_text(text, config, &diagnostics);
    free(content);
    int mistakes = diagnostics.count;
    assert(mistakes != 0 || config->deployment != NULL); /* without a mistake, all of it was read */
    diagnostics_finish(&diagnostics, diagnostics_out);
    if (mistakes == 0)
        *out = config;
    else
        config_free(config);
    return mistakes;
}
