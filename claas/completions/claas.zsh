#compdef claas claas-eval claas-api claas-bench claas-openclaw
# Completion of claas in zsh, after compinit: eval "$(claas completion zsh)"
_claas() {
    local line="${(j: :)words[1,CURRENT-1]} ${QIPREFIX}${PREFIX}" candidate
    local -a program complete_words open_words
    program=("${words[1]}")
    case "${words[1]:t}" in
        python*)
            if [[ $line != *' -m claas'* ]]; then
                (( $+functions[_python] )) && _python "$@" || _default "$@"
                return
            fi
            program=("${words[1]}" -m claas)
            ;;
        claas-*) program=("${words[1]%-*}") ;;
    esac
    local -a complete_shown open_shown
    for candidate in "${(@f)$("${(@)program}" completion query "$line" 2>/dev/null)}"; do
        [[ -n $candidate ]] || continue
        if [[ ${candidate%%$'\t'*} == *= || ${candidate%%$'\t'*} == *=\[* ]]; then
            open_words+=("${candidate%%$'\t'*}")
            open_shown+=("${candidate/$'\t'/  }")
        else
            complete_words+=("${candidate%%$'\t'*}")
            complete_shown+=("${candidate/$'\t'/  }")
        fi
    done
    if (( $#open_words + $#complete_words == 0 )); then
        _files
        return
    fi
    compadd -l -S '' -d open_shown -a open_words
    compadd -l -d complete_shown -a complete_words
}
compdef _claas claas claas-eval claas-api claas-bench claas-openclaw python python3
