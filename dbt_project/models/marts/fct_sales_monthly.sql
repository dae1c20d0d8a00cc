{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{{ delete_months('month_start_date') }}",
        post_hook="{{ remember_months(departments_of_sales()) }}",
    )
}}

{% set days = written_days(ref("fct_sales"), "ordered_at", departments_of_sales(), ["split", "by_day"]) %}
{% set days = look_at_split(ref("fct_sales"), "ordered_at", "order_id", days) %}

{% set sales_by_day %}

    select
        {{ utc_day("sales.ordered_at") }} as day,
        cast({{ dbt.date_trunc("month", "sales.order_date") }} as date) as month_start_date,
        sales.store_key,
        products.department_name,
        sales.currency_code,
        split_orders.order_id as split_order_id,
        count(distinct case when split_orders.order_id is null then sales.order_id end) as order_count,
        count(*) as line_count,
        sum(sales.quantity) as quantity,
        sum(sales.gross_amount) as gross_amount,
        sum(sales.discount_amount) as discount_amount,
        sum(sales.sales_amount) as sales_amount,
        sum(sales.net_amount) as net_amount,
        sum(case when sales.is_returned then sales.net_amount else 0 end) as returned_net_amount,
        sum(case when sales.is_cancelled then sales.net_amount else 0 end) as cancelled_net_amount
    from {{ ref("fct_sales") }} as sales
    inner join {{ ref("dim_product") }} as products on sales.product_key = products.product_key
    left join
        ({{ split_orders(ref("fct_sales"), "ordered_at", "order_id") }}) as split_orders
        on sales.order_id = split_orders.order_id
    where {{ on_days("sales.ordered_at", days) }}
    group by 1, 2, 3, 4, 5, 6

{% endset %}

with

    -- months are added up from their days, of which only those with news are read, see macros/months_of_days.sql
    by_day as ({{ days_of_months(sales_by_day, "month_start_date") }}),

    grouped as (

        select
            month_start_date,
            store_key,
            department_name,
            currency_code,
            cast(sum(order_count) + count(distinct split_order_id) as bigint) as order_count,
            cast(sum(line_count) as bigint) as line_count,
            cast(sum(quantity) as bigint) as quantity,
            cast(sum(gross_amount) as decimal(18, 2)) as gross_amount,
            cast(sum(discount_amount) as decimal(18, 2)) as discount_amount,
            cast(sum(sales_amount) as decimal(18, 2)) as sales_amount,
            cast(sum(net_amount) as decimal(18, 2)) as net_amount,
            cast(sum(returned_net_amount) as decimal(18, 2)) as returned_net_amount,
            cast(sum(cancelled_net_amount) as decimal(18, 2)) as cancelled_net_amount
        from by_day
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
