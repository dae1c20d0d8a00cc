{{ config(materialized="table") }}

{{
    versions(
        ref("int_shop_customers_history"),
        id="customer_id",
        key="customer_key",
        tracked=[
            "first_name",
            "last_name",
            "email_hash",
            "phone_hash",
            "city",
            "region",
            "postal_code",
            "segment_code",
            "age_band",
            "income_band",
        ],
    )
}}
