# Completion of claas in bash: eval "$(claas completion bash)"
_claas() {
    local line="${COMP_LINE:0:$COMP_POINT}" candidate
    local -a program=("$1")
    case "${1##*/}" in
        python*)
            [[ $line =~ \ -m\ +claas ]] || return 0
            program=("$1" -m claas)
            ;;
        claas-*) program=("${1%-*}") ;;
    esac
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("$candidate")
    done < <("${program[@]}" completion query --bash "$line" 2>/dev/null)
}
complete -o nospace -o default -F _claas claas claas-eval claas-api claas-bench claas-openclaw python python3
