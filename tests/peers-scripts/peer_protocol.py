"""What the Python peers share: the line protocol, and the search for what a peer can do.

README.md beside this file has the protocol.
"""

import base64
import json
import sys

OPERATIONS = ["sign", "verify", "encrypt", "decrypt", "generate", "verify_jwks_url", "capabilities"]
JWS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
JWS += ["Ed25519", "EdDSA", "HS256", "HS384", "HS512"]
ALG = ["RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"]
ALG += ["A128KW", "A256KW", "A128GCMKW", "A256GCMKW", "dir"]
ENC = {"A128GCM": 128, "A192GCM": 192, "A256GCM": 256}
ENC.update({"A128CBC-HS256": 256, "A192CBC-HS384": 384, "A256CBC-HS512": 512})
CURVES = {"P-256": "EC", "P-384": "EC", "P-521": "EC", "X25519": "OKP"}


class BadRequest(Exception):
    """The request is malformed."""


class Unsupported(Exception):
    """The peer lacks what the request names."""


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def protected_header(token):
    """The header as the token claims it; nothing is verified here."""
    header = json.loads(decode(token.split(".", 1)[0]))
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    return header


def header_of(request):
    header = {"alg": request["alg"]}
    for name in ("enc", "kid"):
        if request.get(name):
            header[name] = request[name]
    header.update(request.get("header") or {})
    return header


def compact(header):
    return json.dumps(header, separators=(",", ":"))


def parse(line):
    try:
        request = json.loads(line)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if not isinstance(request, dict):
        raise BadRequest("a request is a JSON object")
    return request


def serve(operations, lacks):
    """Answers each line of standard input; `lacks(error)` tells a missing algorithm from a refusal."""

    def find(op):
        if op in operations:
            return operations[op]
        if op in OPERATIONS:
            raise Unsupported("this peer has no %s" % op)
        raise BadRequest("op: %s is none of %s" % (op, ", ".join(OPERATIONS)))

    def answer(line):
        request = {}
        try:
            request = parse(line)
            return {"id": request.get("id"), **find(request.get("op"))(request)}
        except BadRequest as error:
            kind, detail = "request", str(error)
        except Exception as error:  # whatever a library raises on a hostile token is its refusal
            kind = "unsupported" if isinstance(error, Unsupported) or lacks(error) else "failed"
            detail = "%s: %s" % (type(error).__name__, error)
        return {"id": request.get("id"), "error": kind, "detail": detail}

    sys.stdin.reconfigure(encoding="utf-8")  # whatever the locale says
    for line in sys.stdin:
        if line.strip():
            print(json.dumps(answer(line)), flush=True)


def probe(operations):
    """What a peer can do is found by doing it."""
    found = {"jws": [], "alg": [], "enc": [], "curves": [], "lacks": {}}
    payload = encode(b"probe")

    def attempt(names, name, work):
        try:
            work()
            found[names].append(name)
        except Exception as error:
            found["lacks"][name] = "%s: %s" % (type(error).__name__, error)

    def key(kty, **parameters):
        return operations["generate"]({"kty": kty, **parameters})["jwk"]

    def signed(alg, jwk):
        token = operations["sign"]({"alg": alg, "jwk": jwk, "payload": payload})["token"]
        operations["verify"]({"token": token, "jwk": jwk, "algs": [alg]})

    def encrypted(alg, enc, jwk):
        token = operations["encrypt"]({"alg": alg, "enc": enc, "jwk": jwk, "payload": payload})["token"]
        operations["decrypt"]({"token": token, "jwk": jwk})

    rsa = key("RSA", size=2048)
    curve = {"256": "P-256", "384": "P-384", "512": "P-521"}
    for alg in JWS:
        family, bits = alg[:2], alg[2:]
        if family in ("RS", "PS"):
            attempt("jws", alg, lambda: signed(alg, rsa))
        elif family == "ES":
            attempt("jws", alg, lambda: signed(alg, key("EC", crv=curve[bits])))
        elif family == "HS":
            attempt("jws", alg, lambda: signed(alg, key("oct", size=int(bits))))
        else:
            attempt("jws", alg, lambda: signed(alg, key("OKP", crv="Ed25519")))
    for alg in ALG:
        if alg.startswith("RSA"):
            attempt("alg", alg, lambda: encrypted(alg, "A256GCM", rsa))
        elif alg.startswith("ECDH"):
            attempt("alg", alg, lambda: encrypted(alg, "A256GCM", key("EC", crv="P-256")))
        else:
            size = 256 if alg == "dir" else int(alg[1:4])
            attempt("alg", alg, lambda: encrypted(alg, "A256GCM", key("oct", size=size)))
    for enc, size in ENC.items():
        attempt("enc", enc, lambda: encrypted("dir", enc, key("oct", size=size)))
    for crv, kty in CURVES.items():
        attempt("curves", crv, lambda: encrypted("ECDH-ES+A256KW", "A256GCM", key(kty, crv=crv)))
    return found
