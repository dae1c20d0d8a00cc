{{ config(materialized="table") }}

{{
    versions(
        ref("int_shop_products_history"),
        id="product_id",
        key="product_key",
        tracked=[
            "product_name",
            "department_name",
            "category_name",
            "brand_name",
            "package_size",
            "unit_price_amount",
            "unit_cost_amount",
            "is_active",
        ],
    )
}}
