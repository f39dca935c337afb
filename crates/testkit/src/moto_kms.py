"""moto's server of AWS KMS, with what moto leaves out and tests stand on: keys that outlive the process, as those of AWS
do, and the refusal of keys that are disabled or about to be deleted.

    moto_kms.py PORT REGION [--tls CERTIFICATE KEY] KEY_ID...

Each key has the alias `alias/<KEY_ID>`; its material follows from its id.
"""

import argparse
import hashlib

from moto.core.exceptions import JsonRESTError
from moto.kms import models
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

ACCOUNT = "123456789012"


def keep(region: str, key_id: str) -> None:
    backend = models.kms_backends[ACCOUNT][region]
    key = backend.create_key("", "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "", [])
    del backend.keys[key.id]
    key.id = key_id
    key.arn = f"arn:aws:kms:{region}:{ACCOUNT}:key/{key_id}"
    key.key_material = hashlib.sha256(key_id.encode()).digest()
    backend.keys[key_id] = key
    backend.create_alias(key_id, f"alias/{key_id}")


def refuse_unusable(key: models.Key) -> None:
    if key.key_state == "Disabled":
        raise JsonRESTError("DisabledException", f"{key.arn} is disabled.")
    if key.key_state != "Enabled":
        raise JsonRESTError("KMSInvalidStateException", f"{key.arn} is pending deletion.")


moto_encrypt, moto_decrypt = models.KmsBackend.encrypt, models.KmsBackend.decrypt


def encrypt(self, key_id, *args, **kwargs):
    done = moto_encrypt(self, key_id, *args, **kwargs)
    refuse_unusable(self.keys[self.any_id_to_key_id(key_id)])
    return done


def decrypt(self, *args, **kwargs):
    plaintext, arn = moto_decrypt(self, *args, **kwargs)
    refuse_unusable(self.keys[arn.split("/")[-1]])
    return plaintext, arn


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    arguments.add_argument("region")
    arguments.add_argument("keys", nargs="+")
    arguments.add_argument("--tls", nargs=2)
    given = arguments.parse_args()
    models.KmsBackend.encrypt, models.KmsBackend.decrypt = encrypt, decrypt
    for key_id in given.keys:
        keep(given.region, key_id)
    app = DomainDispatcherApplication(create_backend_app)
    tls = tuple(given.tls) if given.tls else None
    run_simple("127.0.0.1", given.port, app, threaded=True, ssl_context=tls)


main()
