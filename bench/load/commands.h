/* The commands of the load generator; what each does and answers stands in main.c. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "clients.h"

void obey(struct crowd *c, const char *line);

#endif
