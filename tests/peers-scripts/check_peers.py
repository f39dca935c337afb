"""Runs the three peers against each other, before the black-box tests run them against the daemons.

Every algorithm, each peer making and each peer opening, with a key of the maker; then one altered token per
algorithm and opener, which must be refused. Prints the matrix (with --quiet only its sum and what is not ok); exit 1
where a cell fails without a reason.
"""

import json
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True  # the tree stays as it is
from peer_protocol import ALG, CURVES, ENC, JWS, decode, encode

HERE = pathlib.Path(__file__).resolve().parent
COMMANDS = {
    "jose": ["node", str(HERE / "peer.mjs")],
    "joserfc": [sys.executable, str(HERE / "peer_joserfc.py")],
    "jwcrypto": [sys.executable, str(HERE / "peer_jwcrypto.py")],
}
PAYLOAD = encode('{"sub":"Zoë","n":1}'.encode())


class Peer:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, op, **request):
        self.process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        return self.process.wait(timeout=10)


def key_shape(alg, enc=None):
    if alg.startswith(("RS", "PS")):
        return {"kty": "RSA", "size": 2048}
    if alg.startswith("ES"):
        return {"kty": "EC", "crv": {"256": "P-256", "384": "P-384", "512": "P-521"}[alg[2:]]}
    if alg.startswith("Ed"):
        return {"kty": "OKP", "crv": "Ed25519"}
    if alg.startswith("HS"):
        return {"kty": "oct", "size": int(alg[2:])}
    return {"kty": "oct", "size": ENC[enc] if alg == "dir" else int(alg[1:4])}


def rows():
    """Each row: its name, the request that makes a token, the one that opens it, the shape of its key."""
    for alg in JWS:
        yield alg, {"op": "sign", "alg": alg}, {"op": "verify", "algs": [alg]}, key_shape(alg)
    for alg in ALG:
        curves = CURVES.items() if alg.startswith("ECDH") else [(None, None)]
        for crv, kty in curves:
            # the content encryption never sees which RSA key wrapped its key, and RSA is slow
            for enc in ("A128CBC-HS256", "A256GCM") if alg.startswith("RSA") else ENC:
                shape = {"kty": kty, "crv": crv} if crv else key_shape(alg, enc)
                name = " ".join(part for part in (alg, crv, enc) if part)
                yield name, {"op": "encrypt", "alg": alg, "enc": enc}, {"op": "decrypt"}, shape


def altered(token):
    """The same token with one bit of its signature or tag turned."""
    head, _, last = token.rpartition(".")
    data = bytearray(decode(last))
    data[0] ^= 1
    return head + "." + encode(bytes(data))


def cell(makers, maker, opener, make, open_, jwk):
    made = makers[maker].ask(jwk=jwk, kid="k1", payload=PAYLOAD, **make)
    if "error" in made:
        return "lacks" if made["error"] == "unsupported" else "FAIL", made
    opened = makers[opener].ask(jwk=jwk, token=made["token"], **open_)
    if "error" in opened:
        return "lacks" if opened["error"] == "unsupported" else "FAIL", opened
    if opened["payload"] != PAYLOAD or opened["header"].get("kid") != "k1":
        return "FAIL", opened
    refused = makers[opener].ask(jwk=jwk, token=altered(made["token"]), **open_)
    return ("ok", made) if refused.get("error") == "failed" else ("FAIL", refused)


def main():
    peers = {name: Peer(command) for name, command in COMMANDS.items()}
    pairs = [(maker, opener) for maker in peers for opener in peers]
    keys, counts, failures = {}, {"ok": 0, "lacks": 0, "FAIL": 0}, []
    quiet = "--quiet" in sys.argv[1:]
    if not quiet:
        print("%-38s %s" % ("made by > opened by", " ".join("%s>%s" % pair for pair in pairs)))
    for name, make, open_, shape in rows():
        line = []
        for maker, opener in pairs:
            at = (maker, json.dumps(shape))
            if at not in keys:
                keys[at] = peers[maker].ask("generate", **shape)["jwk"]
            verdict, answer = cell(peers, maker, opener, make, open_, keys[at])
            counts[verdict] += 1
            line.append(verdict.center(len(maker) + len(opener) + 1))
            if verdict != "ok":
                failures.append("%s, %s > %s: %s" % (name, maker, opener, answer))
        if not quiet:
            print("%-38s %s" % (name, " ".join(line)))
    for failure in failures:
        print(failure)
    codes = [peer.close() for peer in peers.values()]
    print("%d cells: %d ok, %d lacking, %d failed" % (sum(counts.values()), counts["ok"], counts["lacks"], counts["FAIL"]))
    return 1 if counts["FAIL"] or not counts["ok"] or any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
