#include "sale/item.h"

static const char *const acknowledge_names[] = {"committed", "accepted"};

const char *acknowledge_name(acknowledge_t acknowledge)
{
    return acknowledge_names[acknowledge];
}

int acknowledge_parse(str_t name)
{
    for (int i = 0; i < 2; ++i)
        if (str_eq(name, str_of(acknowledge_names[i])))
            return i;
    return -1;
}
