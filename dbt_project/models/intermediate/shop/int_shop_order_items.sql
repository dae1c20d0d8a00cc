select * from {{ ref("stg_shop__order_items") }}
