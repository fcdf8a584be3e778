#!/usr/bin/env bash
# usage: deploy/kubernetes/secret.sh single|sentinel|cluster [NAMESPACE-OF-KEYS]
# Prints a Secret with the users of docs/security.md and a new random password for each of them:
#     deploy/kubernetes/secret.sh single | kubectl apply -f -
# Keys begin with `miroir`, in a cluster with `{miroir}`, unless the second argument says otherwise.
# Every run makes other passwords: to change nothing but a rule, edit the Secret.
set -euo pipefail
cd "$(dirname "$0")/../.."

form=${1:-}
case $form in
    single | sentinel) keys=${2:-miroir} ;;
    cluster) keys=${2:-'{miroir}'} ;;
    *)
        echo "secret.sh: expected single, sentinel or cluster, got '$form'" >&2
        exit 1
        ;;
esac
if [[ ! $keys =~ ^[A-Za-z0-9_:{}-]+$ ]]; then
    echo "secret.sh: the keys' namespace may have letters, digits and _:{}-, not '$keys'" >&2
    exit 1
fi

# The first block of rules of the page; in a cluster its second one as well, which clients need there.
block() {
    awk -v wanted="$1" '/^```/ { if (inside) inside = 0; else if ($0 == "```acl" && ++seen == wanted) inside = 1; next } inside' docs/security.md
}

password() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }

users=$(block 1)
if [[ $form == cluster ]]; then
    cluster_rights=$(block 2)
fi
# Sentinel's own documentation names these rights. It watches the server, hears the other Sentinels, and changes roles.
if [[ $form == sentinel ]]; then
    users+=$'\nuser sentinel on -@all &* +multi +exec +ping +subscribe +publish +slaveof +replicaof +config|rewrite +role +info +client|setname +client|kill +script|kill'
fi

acl='' passwords=''
while read -r word name rest; do
    case $name in
        default) acl+="    $word $name $rest"$'\n' ;;
        *)
            secret=$(password)
            hash=$(printf %s "$secret" | sha256sum | cut -d' ' -f1)
            rest=${rest//'~miroir:'/"~$keys:"}
            rest=${rest//'&miroir:'/"&$keys:"}
            if [[ $form == cluster && $name != replica && $name != admin ]]; then
                # Before the selectors, which are about one kind of key each.
                first=${rest%%' ('*}
                rest="$first $cluster_rights${rest#"$first"}"
            fi
            acl+="    $word $name on #$hash ${rest#on }"$'\n'
            passwords+="  $name-password: '$secret'"$'\n'
            ;;
    esac
done <<<"$users"

cat <<SECRET
apiVersion: v1
kind: Secret
metadata:
  name: miroir-redis
  labels: { app: miroir-redis }
type: Opaque
stringData:
${passwords}  users.acl: |
${acl%$'\n'}
SECRET
