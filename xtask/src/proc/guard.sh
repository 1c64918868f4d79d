# Ends what its parent started, when the parent is gone in whatever way. It reads the parent's notes from
# a pipe; the end of the pipe is the end of the parent, and not even SIGKILL can keep that from happening.
#
# A shell script and not the parent's own program, so that killing every process of that name spares it,
# and so that test programs can have a guard too.
#
# $1: the tag that every child carries in its environment.
trap '' HUP INT QUIT TERM
groups=''
litter=''
while read -r op what; do
  case $op in
    group) groups="$groups $what" ;;
    ended)
      rest=''
      for g in $groups; do [ "$g" = "$what" ] || rest="$rest $g"; done
      groups=$rest
      ;;
    litter) litter="$litter$what
" ;;
  esac
done

# First by group, politely, then by force.
for g in $groups; do kill -TERM -- "-$g"; done 2>/dev/null
n=0
while [ $n -lt 15 ]; do
  alive=''
  for g in $groups; do kill -0 -- "-$g" 2>/dev/null && alive=yes; done
  [ -n "$alive" ] || break
  sleep 0.1
  n=$((n + 1))
done
for g in $groups; do kill -KILL -- "-$g"; done 2>/dev/null

# Then by tag (Linux): whoever left its group, or was started in the parent's last instant.
if [ -d /proc/self ]; then
  for p in $(grep -lzsx -- "FANWISE_RUN=$1" /proc/[0-9]*/environ); do
    p=${p#/proc/}
    kill -KILL "${p%/environ}" 2>/dev/null
  done
fi

printf '%s' "$litter" | while read -r path; do
  case $path in
    */.fanwise/state/?*) rm -rf -- "$path" ;;
  esac
done
