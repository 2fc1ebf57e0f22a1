/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin completion: prints the script that makes a shell complete vgpu-admin's command lines.
 * The script knows nothing by itself; it asks the program (complete.c).
 */
#include <stdio.h>
#include <string.h>

#include "admin/commands.h"

static const char bash_script[] =
    "# bash completion of vgpu-admin, printed by: vgpu-admin completion bash\n"
    "_vgpu_admin()\n"
    "{\n"
    "    local found status\n"
    "    found=$(\"$1\" __complete bash \"$COMP_CWORD\" \"${COMP_WORDS[@]}\" 2>/dev/null)\n"
    "    status=$?\n"
    "    COMPREPLY=()\n"
    "    if [ $status = 10 ]; then\n"
    "        compopt -o default\n"
    "        return\n"
    "    fi\n"
    "    [ -z \"$found\" ] || mapfile -t COMPREPLY <<<\"$found\"\n"
    "    case ${COMPREPLY[*]} in\n"
    "    *=) [ ${#COMPREPLY[@]} -gt 1 ] || compopt -o nospace ;;\n"
    "    esac\n"
    "}\n"
    "complete -F _vgpu_admin vgpu-admin\n";

static const char zsh_script[] =
    "#compdef vgpu-admin\n"
    "# zsh completion of vgpu-admin, printed by: vgpu-admin completion zsh\n"
    "_vgpu_admin()\n"
    "{\n"
    "    local -a open_words closed_words open_texts closed_texts\n"
    "    local found word text\n"
    "    local -a line\n"
    "    line=(\"${(@Q)words[1,CURRENT-1]}\" \"${(Q)PREFIX}\")\n"
    "    found=$(\"$line[1]\" __complete zsh $((CURRENT - 1)) \"${line[@]}\" 2>/dev/null)\n"
    "    if (( $? == 10 )); then\n"
    "        compset -P '--*='\n"
    "        _files\n"
    "        return\n"
    "    fi\n"
    "    while IFS=$'\\t' read -r word text; do\n"
    "        [[ -n $word ]] || continue\n"
    "        text=\"$word${text:+  -- $text}\"\n"
    "        if [[ $word == --*= ]]; then\n"
    "            open_words+=(\"$word\")\n"
    "            open_texts+=(\"$text\")\n"
    "        else\n"
    "            closed_words+=(\"$word\")\n"
    "            closed_texts+=(\"$text\")\n"
    "        fi\n"
    "    done <<<\"$found\"\n"
    "    (( $#open_words )) && compadd -l -d open_texts -S '' -- \"${open_words[@]}\"\n"
    "    (( $#closed_words )) && compadd -l -d closed_texts -- \"${closed_words[@]}\"\n"
    "}\n"
    "if [ \"$funcstack[1]\" = _vgpu-admin ]; then\n"
    "    _vgpu_admin \"$@\"\n"
    "else\n"
    "    compdef _vgpu_admin vgpu-admin\n"
    "fi\n";

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    const char *shell = json_string_value(json_object_get(invocation->args, "shell"));

    if (invocation->json)
        return vgpu_err_set(err, EINVAL, "a shell's script is no JSON");
    if (strcmp(shell, "bash") == 0)
        fputs(bash_script, stdout);
    else if (strcmp(shell, "zsh") == 0)
        fputs(zsh_script, stdout);
    else
        return vgpu_err_set(err, EINVAL, "there is no completion for '%s': bash or zsh", shell);
    return 0;
}

static const struct command_option options[] = {
    {.name = "shell",
     .kind = OPTION_TEXT,
     .metavar = "SHELL",
     .key = "shell",
     .help = "bash or zsh",
     .required = true},
    {.name = NULL},
};

const struct command command_completion = {
    .name = "completion",
    .summary = "print a script that completes command lines in bash or zsh",
    .positional = {"shell"},
    .options = options,
    .run = run,
};
