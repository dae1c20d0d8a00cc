with

    sales as (select * from {{ ref("fct_sales") }}),

    products as (select * from {{ ref("dim_product") }}),

    grouped as (

        select
            cast({{ dbt.date_trunc("month", "sales.order_date") }} as date) as month_start_date,
            sales.store_key,
            products.department_name,
            sales.currency_code,
            count(distinct sales.order_id) as order_count,
            count(*) as line_count,
            cast(sum(sales.quantity) as bigint) as quantity,
            cast(sum(sales.gross_amount) as decimal(18, 2)) as gross_amount,
            cast(sum(sales.discount_amount) as decimal(18, 2)) as discount_amount,
            cast(sum(sales.sales_amount) as decimal(18, 2)) as sales_amount,
            cast(sum(sales.net_amount) as decimal(18, 2)) as net_amount,
            cast(
                sum(case when sales.is_returned then sales.net_amount else 0 end) as decimal(18, 2)
            ) as returned_net_amount,
            cast(
                sum(case when sales.is_cancelled then sales.net_amount else 0 end) as decimal(18, 2)
            ) as cancelled_net_amount
        from sales
        inner join products on sales.product_key = products.product_key
        group by 1, 2, 3, 4

    ),

    final as (

        select
            {{ surrogate_key(["month_start_date", "store_key", "department_name", "currency_code"]) }}
            as sales_month_key,
            *
        from grouped

    )

select *
from final
