/* What a setting takes, in words: for complaints, and for the list of all settings. */
#include <string.h>

#include "config/config.h"
#include "config/settings.h"

static void print_words(const char *const *words, FILE *out)
{
    for (int i = 0; words[i] != NULL; i++) {
        if (i != 0)
            fputs(words[i + 1] == NULL ? " or " : ", ", out);
        fputs(words[i], out);
    }
}

static void print_type(const setting_t *setting, FILE *out)
{
    switch (setting->type) {
    case SETTING_NUMBER:
    case SETTING_PORT:
        fprintf(out, "%u to %u", setting->min, setting->max);
        break;
    case SETTING_FRACTION:
        fprintf(out, "%u to %u, with a fraction if need be", setting->min, setting->max);
        break;
    case SETTING_BOOL:
        fputs("true or false", out);
        break;
    case SETTING_WORD:
        print_words(setting->words, out);
        break;
    case SETTING_NAME:
        fprintf(out, "a name of %u to %u letters, digits, '.', '_' and '-'", setting->min,
                setting->max);
        break;
    case SETTING_TEXT:
        fprintf(out, "a text of %u to %u bytes", setting->min, setting->max);
        break;
    case SETTING_HOST:
        fputs("a host name or an IP address", out);
        break;
    case SETTING_SOCKET:
        fprintf(out, "the path of a Unix socket, at most %u bytes", setting->max);
        break;
    case SETTING_FILE:
        fprintf(out, "the path of a readable file%s",
                setting->private_file ? " that is closed to others" : "");
        break;
    case SETTING_SECRET:
        fprintf(out, "a secret of %u to %u bytes", setting->min, setting->max);
        break;
    case SETTING_SECRET_FILE:
        fprintf(out, "the path of a file of mode 600 with one line of %u to %u bytes", setting->min,
                setting->max);
        break;
    case SETTING_ADDRESS:
        fputs("host:port, or in quotes \"[IPv6]:port\", with a port from 1 to 65535", out);
        break;
    case SETTING_SLOTS:
        fprintf(out, "the first and the last of its slots, %u to %u, as in 0-511", setting->min,
                setting->max);
        break;
    case SETTING_TYPE_COUNT:
        break;
    }
}

void setting_print_wanted(const setting_t *setting, FILE *out)
{
    const char *fallback =
        setting->fallback_said != NULL ? setting->fallback_said : setting->fallback;
    print_type(setting, out);
    fputs(" (", out);
    if (setting->unit != NULL)
        fprintf(out, "%s; ", setting->unit);
    if (fallback != NULL)
        fprintf(out, "default %s", fallback);
    else
        fputs(setting->required ? "required" : "optional", out);
    if (setting->instead != NULL)
        fprintf(out, "; or else %s", setting->instead);
    fputc(')', out);
}

void section_print_keys(const section_t *section, FILE *out)
{
    const char *separator = "";
    for (size_t i = 0; i < section->settings_count; i++, separator = ", ")
        fprintf(out, "%s%s", separator, section->settings[i].key);
    for (size_t i = 0; i < section->children_count; i++, separator = ", ")
        fprintf(out, "%s%s", separator, section->children[i].name);
}

static const char *const type_words[SETTING_TYPE_COUNT] = {
    [SETTING_NUMBER] = "whole number", [SETTING_PORT] = "port",     [SETTING_FRACTION] = "number",
    [SETTING_BOOL] = "boolean",        [SETTING_WORD] = "word",     [SETTING_NAME] = "name",
    [SETTING_TEXT] = "text",           [SETTING_HOST] = "host",     [SETTING_SOCKET] = "path",
    [SETTING_FILE] = "path",           [SETTING_SECRET] = "secret", [SETTING_SECRET_FILE] = "path",
    [SETTING_ADDRESS] = "address",     [SETTING_SLOTS] = "range",
};

static void describe_section(const section_t *section, const char *prefix, FILE *out)
{
    for (size_t i = 0; i < section->settings_count; i++) {
        const setting_t *setting = &section->settings[i];
        fprintf(out, "%s%s: %s\n    ", prefix, setting->key, type_words[setting->type]);
        setting_print_wanted(setting, out);
        fprintf(out, "\n    %s\n", setting->help);
    }
    for (size_t i = 0; i < section->children_count; i++) {
        const section_t *child = &section->children[i];
        char below[64];
        snprintf(below, sizeof(below), "%.40s%.16s%s", prefix, child->name,
                 child->list ? "[]." : ".");
        if (child->list)
            fprintf(out, "%s%s: list\n    1 to %u elements (required)\n    %s\n", prefix,
                    child->name, child->count_max, child->help);
        describe_section(child, below, out);
    }
}

void config_describe(FILE *out)
{
    describe_section(&config_root, "", out);
}
