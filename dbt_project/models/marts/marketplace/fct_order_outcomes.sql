with

    orders as (select * from {{ ref("int_shop_orders") }}),

    times as (select order_id, delivered_date, promised_date from {{ ref("stg_marketplace__orders") }}),

    items as (

        select
            order_id,
            count(*) as line_count,
            count(distinct seller_id) as seller_count,
            sum(price_amount) as sales_amount,
            sum(freight_amount) as freight_amount
        from {{ ref("stg_marketplace__order_items") }}
        group by 1

    ),

    payments as (

        select order_id, sum(payment_amount) as paid_amount from {{ ref("stg_marketplace__order_payments") }} group by 1

    ),

    reviews as (

        select
            order_id,
            count(*) as review_count,
            avg(review_score) as average_review_score,
            max(case when is_latest_of_order then review_score end) as latest_review_score
        from {{ ref("fct_reviews") }}
        group by 1

    ),

    final as (

        select
            orders.order_id,
            orders.status_code,
            orders.ordered_at,
            orders.shipped_at,
            orders.delivered_at,
            times.promised_date,
            {{ dbt.datediff("times.promised_date", "times.delivered_date", "day") }} as days_late,
            times.delivered_date > times.promised_date as is_late,
            coalesce(
                orders.delivered_at < orders.shipped_at
                or orders.shipped_at < orders.paid_at
                or orders.delivered_at < orders.paid_at,
                false
            ) as is_out_of_order,
            coalesce(items.line_count, 0) as line_count,
            coalesce(items.seller_count, 0) as seller_count,
            cast(coalesce(items.sales_amount, 0) as decimal(18, 2)) as sales_amount,
            cast(coalesce(items.freight_amount, 0) as decimal(18, 2)) as freight_amount,
            cast(coalesce(payments.paid_amount, 0) as decimal(18, 2)) as paid_amount,
            coalesce(reviews.review_count, 0) as review_count,
            reviews.average_review_score,
            reviews.latest_review_score
        from orders
        inner join times on orders.order_id = times.order_id
        left join items on orders.order_id = items.order_id
        left join payments on orders.order_id = payments.order_id
        left join reviews on orders.order_id = reviews.order_id

    )

select *
from final
