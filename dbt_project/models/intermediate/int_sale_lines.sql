with

    order_items as (select * from {{ ref("int_shop_order_items") }}),

    orders as (select * from {{ ref("int_shop_orders") }}),

    product_versions as (select product_id, product_key, valid_from, valid_to from {{ ref("int_product_versions") }}),

    customer_versions as (

        select customer_id, customer_key, valid_from, valid_to from {{ ref("int_customer_versions") }}

    ),

    stores as (

        select store_id, time_zone, {{ surrogate_key(["store_id"]) }} as store_key from {{ ref("int_shop_stores") }}

    ),

    offsets as (select time_zone, utc_date, offset_us from {{ ref("int_utc_offsets") }}),

    resolved as (

        select
            order_items.order_id,
            order_items.line_number,
            -- the day of a sale is the store's; a sale of an unknown store counts by the UTC day
            {{ local_date("order_items.ordered_at", "coalesce(stores.time_zone, 'UTC')", "offsets.offset_us") }}
            as order_date,
            order_items.ordered_at,
            coalesce(product_versions.product_key, {{ unknown_key() }}) as product_key,
            coalesce(customer_versions.customer_key, {{ unknown_key() }}) as customer_key,
            coalesce(stores.store_key, {{ unknown_key() }}) as store_key,
            order_items.product_id,
            orders.customer_id,
            orders.store_id,
            coalesce(orders.status_code, 'unknown') as status_code,
            -- ISO 4217: XXX stands for "no currency"
            coalesce(orders.currency_code, 'XXX') as currency_code,
            order_items.quantity,
            order_items.sales_amount,
            order_items.retail_discount_amount,
            order_items.coupon_discount_amount,
            order_items.coupon_match_discount_amount,
            greatest(order_items._loaded_at, coalesce(orders._loaded_at, order_items._loaded_at)) as _loaded_at
        from order_items
        left join orders on order_items.order_id = orders.order_id
        left join stores on orders.store_id = stores.store_id
        left join
            offsets
            on coalesce(stores.time_zone, 'UTC') = offsets.time_zone
            and {{ utc_day("order_items.ordered_at") }} = offsets.utc_date
        left join
            product_versions
            on order_items.product_id = product_versions.product_id
            and order_items.ordered_at >= product_versions.valid_from
            and order_items.ordered_at < product_versions.valid_to
        left join
            customer_versions
            on orders.customer_id = customer_versions.customer_id
            and order_items.ordered_at >= customer_versions.valid_from
            and order_items.ordered_at < customer_versions.valid_to

    ),

    final as (

        select
            order_id,
            line_number,
            case
                when
                    order_date >= cast('{{ var("calendar_from") }}' as date)
                    and order_date < cast('{{ var("calendar_until") }}' as date)
                then {{ date_key("order_date") }}
                else -1
            end as date_key,
            order_date,
            ordered_at,
            product_key,
            customer_key,
            store_key,
            product_id,
            customer_id,
            store_id,
            status_code,
            currency_code,
            quantity,
            cast(
                sales_amount + retail_discount_amount + coupon_match_discount_amount as decimal(12, 2)
            ) as gross_amount,
            sales_amount,
            retail_discount_amount,
            coupon_discount_amount,
            coupon_match_discount_amount,
            cast(
                retail_discount_amount + coupon_match_discount_amount + coupon_discount_amount as decimal(12, 2)
            ) as discount_amount,
            cast(sales_amount - coupon_discount_amount as decimal(12, 2)) as net_amount,
            status_code = 'returned' as is_returned,
            status_code = 'cancelled' as is_cancelled,
            _loaded_at
        from resolved

    )

select *
from final
