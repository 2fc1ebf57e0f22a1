/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-client: runs jobs and kernels on the GPU that the host lends to this VM. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "guest/client/client.h"
#include "guest/client/number.h"

struct command {
    const char *name;
    const char *arguments;
    const char *help;
    int least, most; /* arguments; most -1: any number */
    client_command run;
};

static const struct command commands[] = {
    {"info", "", "shows this VM and its device", 0, 0, client_info},
    {"vector-add", "A B", "adds two lists of integers, as 1,2,3", 2, 2, client_vector_add},
    {"run", "KERNEL|--all|--list", "runs kernels that come with it, verified", 0, 1, client_run},
    {"launch", "FILE KERNEL [TYPE:VALUE...]", "launches a kernel of a PTX file", 2, -1,
     client_launch},
    {"hold", "", "keeps a channel open until a signal", 0, 0, client_hold},
};

enum option_id {
    OPTION_HELP = 256,
    OPTION_VERSION,
    OPTION_SOCKET,
    OPTION_DRIVER,
    OPTION_JSON,
    OPTION_DATA_SIZE,
    OPTION_LIST,
    OPTION_ALL,
    OPTION_VERIFY,
    OPTION_NO_VERIFY,
    OPTION_SIZE,
    OPTION_ROUNDS,
    OPTION_WORK,
    OPTION_SEED,
    OPTION_SECONDS,
    OPTION_INPUT,
    OPTION_OUTPUT,
    OPTION_GRID,
    OPTION_BLOCK,
    OPTION_SHARED,
    OPTION_BAR0,
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"driver", required_argument, NULL, OPTION_DRIVER},
    {"json", no_argument, NULL, OPTION_JSON},
    {"data-size", required_argument, NULL, OPTION_DATA_SIZE},
    {"list", no_argument, NULL, OPTION_LIST},
    {"all", no_argument, NULL, OPTION_ALL},
    {"verify", no_argument, NULL, OPTION_VERIFY},
    {"no-verify", no_argument, NULL, OPTION_NO_VERIFY},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"rounds", required_argument, NULL, OPTION_ROUNDS},
    {"work", required_argument, NULL, OPTION_WORK},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"input", required_argument, NULL, OPTION_INPUT},
    {"output", required_argument, NULL, OPTION_OUTPUT},
    {"grid", required_argument, NULL, OPTION_GRID},
    {"block", required_argument, NULL, OPTION_BLOCK},
    {"shared", required_argument, NULL, OPTION_SHARED},
    {"bar0", no_argument, NULL, OPTION_BAR0},
    {NULL, 0, NULL, 0},
};

static void print_help(void)
{
    puts("usage: vgpu-client [options] command [arguments]\n\ncommands:");
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(commands); i++)
        printf("  %-11s %-28s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    puts("\noptions:\n"
         "  --socket PATH     a device, or the VM's socket (" VGPU_DEFAULT_DEVICE
         " where it is there,\n"
         "                    else " VGPU_DEFAULT_SOCKET ")\n"
         "  --driver PATH     use this CUDA driver in this process instead of the mediator\n"
         "  --data-size SIZE  data area of the channel; by default the host's choice\n"
         "  --json            print results as JSON\n"
         "  --help            this text\n"
         "  --version         the version\n"
         "\nvector-add:\n"
         "  --bar0            in a virtual machine, by the device's registers, without a driver;\n"
         "                    for root, at most 256 elements\n"
         "\nrun:\n"
         "  --list            list the kernels\n"
         "  --all             run each of them\n"
         "  --seconds N       again and again for N seconds\n"
         "  --size N          elements; --list tells what they are\n"
         "  --rounds N        how often the device runs it\n"
         "  --work N          steps an element, where the kernel has them\n"
         "  --seed N          of generated inputs\n"
         "  --input FILE      input instead of generated ones; once for each array\n"
         "  --output FILE     where the output goes\n"
         "  --verify          compare with the CPU's results (the default)\n"
         "  --no-verify       do not\n"
         "\nlaunch:\n"
         "  --grid X[,Y[,Z]]  blocks (1)\n"
         "  --block X[,Y[,Z]] threads a block (1)\n"
         "  --shared SIZE     dynamic shared memory\n"
         "\nexit: 0 done, 1 failed, 2 wrong usage, 3 refused for good, 4 the worker is gone,\n"
         "5 wrong result, 75 still busy after five attempts");
}

/* Where an option that takes a number puts it; NULL for others. */
static uint64_t *number_place(struct client_options *options, int id)
{
    switch (id) {
    case OPTION_DATA_SIZE:
        return &options->data_bytes;
    case OPTION_SIZE:
        return &options->size;
    case OPTION_ROUNDS:
        return &options->rounds;
    case OPTION_WORK:
        return &options->work;
    case OPTION_SEED:
        return &options->seed;
    case OPTION_SECONDS:
        return &options->seconds;
    case OPTION_SHARED:
        return &options->shared_bytes;
    default:
        return NULL;
    }
}

static bool take_text(struct client_options *options, int id, const char *value)
{
    switch (id) {
    case OPTION_SOCKET:
        options->socket = value;
        return true;
    case OPTION_DRIVER:
        options->driver = value;
        return true;
    case OPTION_OUTPUT:
        options->output = value;
        return true;
    case OPTION_INPUT:
        if (options->input_count == CLIENT_MAX_INPUTS)
            return false;
        options->inputs[options->input_count++] = value;
        return true;
    case OPTION_GRID:
        return number_triple(value, options->grid);
    case OPTION_BLOCK:
        return number_triple(value, options->block);
    default:
        return false;
    }
}

static bool take_switch(struct client_options *options, int id)
{
    switch (id) {
    case OPTION_JSON:
        options->json = true;
        return true;
    case OPTION_BAR0:
        options->bar0 = true;
        return true;
    case OPTION_LIST:
        options->list = true;
        return true;
    case OPTION_ALL:
        options->all = true;
        return true;
    case OPTION_VERIFY:
        options->no_verify = false;
        return true;
    case OPTION_NO_VERIFY:
        options->no_verify = true;
        return true;
    default:
        return false;
    }
}

static bool take_option(struct client_options *options, int id, const char *value)
{
    uint64_t *place = number_place(options, id);

    if (place)
        return number_u64(value, place);
    return take_switch(options, id) || (value && take_text(options, id, value));
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct client_options *options)
{
    int index = 0;
    int id;

    while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (id == OPTION_HELP) {
            print_help();
            return CLIENT_OK;
        }
        if (id == OPTION_VERSION) {
            puts("vgpu-client " VGPU_PROGRAM_VERSION);
            return CLIENT_OK;
        }
        if (id == '?')
            return CLIENT_USAGE;
        if (!take_option(options, id, optarg)) {
            client_complain("--%s does not take '%.60s'", long_options[index].name, optarg);
            return CLIENT_USAGE;
        }
    }
    return -1;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; name && i < VGPU_ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    if (name)
        client_complain("there is no command '%.60s'; see --help", name);
    else
        client_complain("no command; see --help");
    return NULL;
}

static void tell_unsupported(const char *name)
{
    client_complain("%s is not supported", name);
}

static int execute(const struct command *command, const struct client_options *options, int argc,
                   char **argv)
{
    struct client client = {.options = options};
    int status;

    if (argc < command->least || (command->most >= 0 && argc > command->most)) {
        client_complain("usage: vgpu-client %s %s", command->name, command->arguments);
        return CLIENT_USAGE;
    }
    vgpu_on_unsupported(tell_unsupported);
    status = command->run(&client, argc, argv);
    client_close(&client);
    if (status == CLIENT_OK && (fflush(stdout) != 0 || ferror(stdout))) {
        client_complain("cannot write to standard output");
        return CLIENT_FAILED;
    }
    return status;
}

int main(int argc, char **argv)
{
    const char *from_environment = getenv("VGPU_SOCKET");
    struct client_options options = {
        .socket = from_environment && from_environment[0] ? from_environment : NULL,
        .rounds = 1,
        .grid = {1, 1, 1},
        .block = {1, 1, 1},
    };
    const struct command *command;
    int status = parse(argc, argv, &options);

    if (status >= 0)
        return status;
    command = find_command(argv[optind]);
    if (!command)
        return CLIENT_USAGE;
    return execute(command, &options, argc - optind - 1, argv + optind + 1);
}
