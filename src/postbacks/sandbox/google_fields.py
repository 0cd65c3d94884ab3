"""The fields that each Google request may have, as data: everything else in a body is refused.

Route B after `google.ads.datamanager.v1` (sheet google, 2.2), route A after `UploadClickConversionsRequest`, which is
the same in v23 to v26 (sheet google, 1.1 and 1.3).
"""

from __future__ import annotations

from postbacks.sandbox.google_json import Message, boolean, double, enum, int32, int64, many, text, timestamp

# Route B: Data Manager API

_ACCOUNT = Message(
    {
        "accountType": enum(
            "ACCOUNT_TYPE_UNSPECIFIED",
            "GOOGLE_ADS",
            "DISPLAY_VIDEO_PARTNER",
            "DISPLAY_VIDEO_ADVERTISER",
            "DATA_PARTNER",
            "GOOGLE_ANALYTICS_PROPERTY",
            "GOOGLE_AD_MANAGER_AUDIENCE_LINK",
            "FLOODLIGHT_CONFIG",
            "GOOGLE_AD_MANAGER",
        ),
        "accountId": text,
        "product": enum(
            "PRODUCT_UNSPECIFIED",
            "GOOGLE_ADS",
            "DISPLAY_VIDEO_PARTNER",
            "DISPLAY_VIDEO_ADVERTISER",
            "DATA_PARTNER",
        ),
    }
)
_DESTINATION = Message(
    {
        "reference": text,
        "operatingAccount": _ACCOUNT,
        "loginAccount": _ACCOUNT,
        "linkedAccount": _ACCOUNT,
        "productDestinationId": text,
    }
)
_consent_status = enum("CONSENT_STATUS_UNSPECIFIED", "CONSENT_GRANTED", "CONSENT_DENIED")
_CONSENT = Message({"adUserData": _consent_status, "adPersonalization": _consent_status})
_ADDRESS = Message(
    {
        "givenName": text,
        "familyName": text,
        "regionCode": text,
        "postalCode": text,
        "addressLine": text,
        "city": text,
        "administrativeArea": text,
    }
)
_USER_DATA = Message(
    {
        "userIdentifiers": many(
            Message(
                {"emailAddress": text, "phoneNumber": text, "address": _ADDRESS},
                frozenset({"emailAddress", "phoneNumber", "address"}),
            )
        )
    }
)
_DEVICE = Message(
    {
        "userAgent": text,
        "ipAddress": text,
        "category": text,
        "languageCode": text,
        "screenHeight": int32,
        "screenWidth": int32,
        "operatingSystem": text,
        "operatingSystemVersion": text,
        "model": text,
        "brand": text,
        "browser": text,
        "browserVersion": text,
    }
)
_ENCRYPTED_USER_ID = Message(
    {
        "encryptedId": text,
        "entityType": enum(
            "ENCRYPTION_ENTITY_TYPE_UNSPECIFIED",
            "CAMPAIGN_MANAGER_ACCOUNT",
            "CAMPAIGN_MANAGER_ADVERTISER",
            "DISPLAY_VIDEO_PARTNER",
            "DISPLAY_VIDEO_ADVERTISER",
            "GOOGLE_ADS_CUSTOMER",
            "GOOGLE_AD_MANAGER_NETWORK_CODE",
        ),
        "entityId": int64,
        "source": enum("ENCRYPTION_SOURCE_UNSPECIFIED", "AD_SERVING", "DATA_TRANSFER"),
    }
)
_AD_IDENTIFIERS = Message(
    {
        "gclid": text,
        "gbraid": text,
        "wbraid": text,
        "sessionAttributes": text,
        "landingPageDeviceInfo": _DEVICE,
        "mobileDeviceId": text,
        "dclid": text,
        "impressionId": text,
        "matchId": text,
        "encryptedUserIds": many(_ENCRYPTED_USER_ID),
        "ppid": text,
        "visitorPpid": text,
    }
)
_parameters = many(Message({"parameterName": text, "value": text}))
_custom_variables = many(Message({"variable": text, "value": text, "destinationReferences": many(text)}))
_ITEM = Message(
    {
        "merchantProductId": text,
        "quantity": int64,
        "unitPrice": double,
        "itemId": text,
        "additionalItemParameters": _parameters,
        "merchantId": text,
        "merchantFeedLabel": text,
        "merchantFeedLanguageCode": text,
        "conversionValue": double,
        "customVariables": _custom_variables,
    }
)
_CART = Message(
    {
        "merchantId": text,
        "merchantFeedLabel": text,
        "merchantFeedLanguageCode": text,
        "transactionDiscount": double,
        "items": many(_ITEM),
        "couponCodes": many(text),
    }
)
_USER_PROPERTIES = Message(
    {
        "customerType": enum("CUSTOMER_TYPE_UNSPECIFIED", "NEW", "RETURNING", "REENGAGED"),
        "customerValueBucket": enum("CUSTOMER_VALUE_BUCKET_UNSPECIFIED", "LOW", "MEDIUM", "HIGH"),
        "additionalUserProperties": many(Message({"propertyName": text, "value": text})),
    }
)
_LOCATION = Message(
    {
        "storeId": text,
        "city": text,
        "subdivisionCode": text,
        "regionCode": text,
        "subcontinentCode": text,
        "continentCode": text,
    }
)
_EVENT = Message(
    {
        "destinationReferences": many(text),
        "transactionId": text,
        "eventTimestamp": timestamp,
        "lastUpdatedTimestamp": timestamp,
        "userData": _USER_DATA,
        "consent": _CONSENT,
        "adIdentifiers": _AD_IDENTIFIERS,
        "currency": text,
        "conversionValue": double,
        "conversionCount": double,
        "eventSource": enum("EVENT_SOURCE_UNSPECIFIED", "WEB", "APP", "IN_STORE", "PHONE", "OTHER", "MESSAGE"),
        "eventDeviceInfo": _DEVICE,
        "cartData": _CART,
        "customVariables": _custom_variables,
        "experimentalFields": many(Message({"field": text, "value": text})),
        "userProperties": _USER_PROPERTIES,
        "eventName": text,
        "clientId": text,
        "userId": text,
        "additionalEventParameters": _parameters,
        "thirdPartyUserData": _USER_DATA,
        "eventLocation": _LOCATION,
        "appInstanceId": text,
    }
)
_key_type = enum("KEY_TYPE_UNSPECIFIED", "XCHACHA20_POLY1305")
_ENCRYPTION = Message(
    {
        "gcpWrappedKeyInfo": Message(
            {"keyType": _key_type, "wipProvider": text, "kekUri": text, "encryptedDek": text},
        ),
        "awsWrappedKeyInfo": Message(
            {"keyType": _key_type, "roleArn": text, "kekUri": text, "encryptedDek": text},
        ),
        "coordinatorKeyInfo": Message({"keyId": text}),
    },
    frozenset({"gcpWrappedKeyInfo", "awsWrappedKeyInfo", "coordinatorKeyInfo"}),
)
INGEST_EVENTS = Message(
    {
        "destinations": many(_DESTINATION),
        "events": many(_EVENT),
        "consent": _CONSENT,
        "validateOnly": boolean,
        "encoding": enum("ENCODING_UNSPECIFIED", "HEX", "BASE64"),
        "encryptionInfo": _ENCRYPTION,
    }
)

# Route A: Google Ads API

_ads_consent = enum("UNSPECIFIED", "UNKNOWN", "GRANTED", "DENIED")
_ADS_USER_IDENTIFIER = Message(
    {
        "userIdentifierSource": enum("UNSPECIFIED", "UNKNOWN", "FIRST_PARTY", "THIRD_PARTY"),
        "hashedEmail": text,
        "hashedPhoneNumber": text,
        "mobileId": text,
        "thirdPartyUserId": text,
        "addressInfo": Message(
            {
                "hashedFirstName": text,
                "hashedLastName": text,
                "city": text,
                "state": text,
                "countryCode": text,
                "postalCode": text,
                "hashedStreetAddress": text,
            }
        ),
    },
    frozenset({"hashedEmail", "hashedPhoneNumber", "mobileId", "thirdPartyUserId", "addressInfo"}),
)
_ADS_CART = Message(
    {
        "merchantId": int64,
        "feedCountryCode": text,
        "feedLanguageCode": text,
        "localTransactionCost": double,
        "items": many(Message({"productId": text, "quantity": int32, "unitPrice": double})),
    }
)
_CLICK_CONVERSION = Message(
    {
        "gclid": text,
        "gbraid": text,
        "wbraid": text,
        "conversionAction": text,
        "conversionDateTime": text,
        "conversionValue": double,
        "currencyCode": text,
        "orderId": text,
        "conversionEnvironment": enum("UNSPECIFIED", "UNKNOWN", "APP", "WEB"),
        "consent": Message({"adUserData": _ads_consent, "adPersonalization": _ads_consent}),
        "customVariables": many(Message({"conversionCustomVariable": text, "value": text})),
        "userIdentifiers": many(_ADS_USER_IDENTIFIER),
        "cartData": _ADS_CART,
        "externalAttributionData": Message({"externalAttributionCredit": double, "externalAttributionModel": text}),
        "customerType": enum("UNSPECIFIED", "UNKNOWN", "NEW", "RETURNING"),
        "userIpAddress": text,
        "sessionAttributesEncoded": text,
        "sessionAttributesKeyValuePairs": Message(
            {"keyValuePairs": many(Message({"sessionAttributeKey": text, "sessionAttributeValue": text}))}
        ),
    },
    frozenset({"sessionAttributesEncoded", "sessionAttributesKeyValuePairs"}),
)
UPLOAD_CLICK_CONVERSIONS = Message(
    {
        "conversions": many(_CLICK_CONVERSION),
        "partialFailure": boolean,
        "validateOnly": boolean,
        "jobId": int32,
    }
)
