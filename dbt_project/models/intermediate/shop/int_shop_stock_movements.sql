select * from {{ ref("stg_shop__stock_movements") }}
