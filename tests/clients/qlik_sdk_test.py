"""The package qlik-sdk: with a token of the broker as its API key, and with the tenant alone."""

import json
import os
import unittest
import urllib.request

from qlik_sdk import AuthType, Config, Qlik
from qlik_sdk.rest import AuthenticationException

TENANT = os.environ["TENANT_URL"]


def of_management_client(secret="demo-management-secret"):
    return Qlik(
        Config(
            host=TENANT,
            auth_type=AuthType.OAuth2,
            client_id="demo-management",
            client_secret=secret,
        )
    )


def token_of_broker(subject):
    request = urllib.request.Request(
        os.environ["BROKER_URL"] + "/session-token",
        json.dumps({"user_lookup": {"field": "subject", "value": subject}}).encode(),
        {
            "Authorization": "Bearer " + os.environ["BROKER_KEY"],
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["access_token"]


class QlikSdk(unittest.TestCase):
    def test_client_credentials_lead_to_the_bot(self):
        qlik = of_management_client()
        answer = qlik.auth.authorize()
        self.assertEqual(answer["scope"], "user_default")
        self.assertEqual(qlik.users.get_me().subject, "qlikbot\\demo-management")

    def test_a_wrong_secret_is_refused(self):
        with self.assertRaises(AuthenticationException):
            of_management_client("guessed").auth.authorize()

    def test_a_revoked_token_is_refused(self):
        qlik = of_management_client()
        token = qlik.auth.authorize()["access_token"]
        qlik.users.get_me()
        qlik.auth.deauthorize()
        qlik.config.api_key = token
        with self.assertRaises(AuthenticationException):
            qlik.users.get_me()

    def test_a_token_of_the_broker_leads_to_its_user(self):
        for subject in ("auth0|ann", "auth0|bob"):
            token = token_of_broker(subject)
            config = Config(host=TENANT, auth_type=AuthType.APIKey, api_key=token)
            self.assertEqual(Qlik(config).users.get_me().subject, subject)


if __name__ == "__main__":
    unittest.main()
