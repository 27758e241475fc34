# Completion of claas in fish: claas completion fish | source
function __claas_candidates
    set -l line (commandline -cp)
    set -l program (commandline -opc)[1]
    switch (basename -- $program)
        case 'python*'
            string match -qr -- ' -m +claas' $line; or return
            set program $program -m claas
        case 'claas-*'
            set program (string replace -r -- '-[a-z]+$' '' $program)
    end
    set -l found ($program completion query "$line" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
for program in claas claas-eval claas-api claas-bench claas-openclaw
    complete -c $program -f -k -a '(__claas_candidates)'
end
for program in python python3
    complete -c $program -a '(__claas_candidates)' -n 'string match -qr -- " -m +claas" (commandline -cp)' -f -k
end
